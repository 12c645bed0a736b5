/**
 * TRL's and transformers' options that have no meaning here, by what to do instead (docs/training.md has the
 * whole map).
 */
const INSTEAD: readonly (readonly [instead: string, options: string])[] = [
  [
    'give the trainer rollouts: openAIRollouts({ url })',
    'useVllm vllmMode vllmServerBaseUrl vllmServerHost vllmServerPort vllmServerTimeout vllmGroupPort',
  ],
  [
    "it is the server's own option; sampling elsewhere is rollouts: openAIRollouts({ url })",
    `vllmGpuMemoryUtilization vllmTensorParallelSize vllmMaxModelLength vllmModelImpl vllmEnableSleepMode vllmGuidedDecodingRegex
      vllmStructuredOutputsRegex`,
  ],
  [
    'a rollout serves one step, or numIterations steps on all of it',
    'generationBatchSize stepsPerGeneration numMiniBatches',
  ],
  [
    'set maxTokensInMemory; it changes no result',
    'localRolloutForwardBatchSize autoFindBatchSize torchEmptyCacheSteps',
  ],
  ['its name here is numIterations', 'numPpoEpochs'],
  ['its name here is beta', 'klCoef initKlCoef'],
  ['its name here is epsilon', 'cliprange'],
  ['its name here is maxCompletionLength', 'responseLength maxNewTokens'],
  ['its name here is numGenerations', 'rlooK'],
  ['its name here is stop', 'stopToken stopTokenId'],
  ['its name here is maxLength', 'maxSeqLength'],
  ['its name here is maxGradNorm', 'gradientClipping'],
  ['set maxSteps or numTrainEpochs', 'totalEpisodes'],
  ['give warmupSteps a number below 1: a share of the steps', 'warmupRatio'],
  [
    'set evalSteps; without it the evalDataset is evaluated once, at the end',
    'evalStrategy evaluationStrategy doEval evalDelay',
  ],
  ['call trainer.evaluate() before trainer.train()', 'evalOnStart'],
  ['an evaluation bounds its memory itself', 'perDeviceEvalBatchSize evalAccumulationSteps batchEvalMetrics'],
  ['set saveSteps; a last checkpoint is always written', 'saveStrategy'],
  ['checkpoints always hold safetensors and what a resumed run needs', 'saveSafetensors saveOnlyModel'],
  [
    'keep checkpoints (saveSteps) and choose by metrics.jsonl',
    'loadBestModelAtEnd metricForBestModel greaterIsBetter',
  ],
  [
    "pass resumeFrom to train(): 'latest' or a checkpoint",
    'resumeFromCheckpoint ignoreDataSkip restoreCallbackStatesFromCheckpoint',
  ],
  ['set loggingSteps', 'loggingStrategy loggingFirstStep logLevel disableTqdm'],
  ['event files go to outputDir/tensorboard', 'loggingDir'],
  ['outputDir names the run', 'runName project trackioSpaceId'],
  [
    'set logCompletions; completions.jsonl has them all',
    'numCompletionsToPrint logUniquePrompts wandbLogUniquePrompts numSampleGenerations logCompletionsHubRepo',
  ],
  [
    "load the model with Model.fromPretrained(dir, { dtype: 'bfloat16' })",
    'bf16 fp16 bf16FullEval fp16FullEval halfPrecisionBackend',
  ],
  ["the context decides: createContext({ math: 'tf32' })", 'tf32'],
  ['the classifier computes in float32 anyway', 'castLmHeadToFp32'],
  [
    'load the model with Model.fromPretrained',
    'modelInitKwargs modelAdapterName refAdapterName sftModelPath',
  ],
  ['give rewardFuncs: httpReward({ url })', 'rewardModelPath'],
  [
    'the reference model stays as it was given (refModel)',
    'syncRefModel refModelSyncSteps refModelMixupAlpha',
  ],
  [
    'tokens are sampled from the distribution that is trained; add repetitionPenaltyReward()',
    'repetitionPenalty',
  ],
  ['set temperature, topP, topK, minP and stop', 'generationKwargs cacheImplementation useTransformersPaged'],
  ['give a reward function that reads `terminated`', 'missingEosPenalty'],
  ['prompts are never cut; shorten them in the data set', 'maxPromptLength'],
  [
    'tools are not called; rollouts may be a source of completions of your own',
    'tools maxToolCallingIterations',
  ],
  ['use the loss types in docs/options.md', 'sapoTemperaturePos sapoTemperatureNeg'],
  ["the model directory's chat_template.jinja is used", 'chatTemplatePath'],
  ["the model's own eos_token_id ends a text", 'eosToken padToken'],
  ["give rows with 'prompt' and 'completion'; completionOnlyLoss scores the completion", 'assistantOnlyLoss'],
  ['the optimizer is AdamW', 'optim optimArgs optimTargetModules adafactor'],
  ['there is no dropout', 'disableDropout'],
  ['leave it out; it is not implemented', 'neftuneNoiseAlpha labelSmoothingFactor lossSpikeThreshold'],
  ['the loss is always fused and never holds [tokens, vocabulary]', 'useLigerKernel useLigerLoss'],
  ['set gradientCheckpointing alone', 'gradientCheckpointingKwargs activationOffloading'],
  [
    'sequences are packed without padding by themselves',
    'packing packingStrategy evalPacking paddingFree padToMultipleOf groupByLength lengthColumnName',
  ],
  ['reward functions always get every column', 'removeUnusedColumns'],
  ["rows have 'text', 'messages', or 'prompt' and 'completion'", 'datasetTextField datasetKwargs'],
  [
    'rows are read before training, and none is dropped',
    'dataloaderNumWorkers dataloaderDropLast dataloaderPinMemory dataloaderPersistentWorkers dataloaderPrefetchFactor datasetNumProc',
  ],
  ['seed is that of the data order too', 'dataSeed'],
  ['the same seed gives the same bits always', 'fullDeterminism'],
  ['the context decides: createContext({ device })', 'useCpu noCuda useMpsDevice'],
  ['the kernels are compiled already', 'torchCompile torchCompileBackend torchCompileMode jitModeEval'],
  [
    'one process trains on one device',
    `deepspeed ds3GatherForGeneration fsdp fsdpConfig localRank acceleratorConfig parallelismConfig ddpBackend ddpFindUnusedParameters ddpTimeout
      averageTokensAcrossDevices`,
  ],
  [
    'write model.savePretrained(directory) and upload that',
    'pushToHub hubModelId hubToken hubStrategy hubPrivateRepo',
  ],
  ['num_tokens is always counted', 'includeNumInputTokensSeen includeTokensPerSecond'],
  ['call train() or evaluate()', 'doTrain doPredict'],
  ['do it between two steps of trainer.steps()', 'callbacks'],
];

/** Undefined for a name that is none of theirs. */
export const instead = (option: string): string | undefined =>
  INSTEAD.find(([, options]) => options.split(/\s+/).includes(option))?.[0];
