/**
 * Every exported function and every method, one argument at a time replaced by things of the wrong kind: the
 * call works or is refused with a code and in words that name the function, never with an error from
 * somewhere inside. options.test.ts has the words.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

import * as headfirst from '../src/index.js';
import { temporaryDirectory } from './helpers/files.js';

const {
  AdamW,
  analysis,
  createContext,
  CFRLTrainer,
  GRPOTrainer,
  kernels,
  Model,
  ntk,
  PPOTrainer,
  RLOOTrainer,
  SFTTrainer,
  Tensor,
} = headfirst;

const wrong = [
  undefined,
  null,
  5,
  NaN,
  'x',
  true,
  Symbol('s'),
  () => 1,
  {},
  { a: 1 },
  [],
  [5],
  [null],
  [{}],
  [[1, 'a']],
];
const config = {
  model_type: 'gpt',
  vocab_size: 11,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 12,
};
const samples = [{ inputIds: [1, 2, 3], scoreFrom: 1 }];
const batch = { inputIds: [[1, 2]] };
const matrix = (rows: number, columns: number) => ({
  data: new Float32Array(rows * columns).fill(1),
  shape: [rows, columns],
});
const plain = { hidden: matrix(2, 2), weight: matrix(3, 2), targets: new Int32Array(2) };
const kernel = (corner: number) => ({ kernel: Float64Array.of(1, corner, corner, 1), shape: [2, 2] });
const rewardFuncs = ({ completionIds }: headfirst.RewardInput) => completionIds.map(() => 1);
const nowhere = join(tmpdir(), 'headfirst-there-is-no-such-directory');

/** Calls and arguments that are right, made anew for each use. */
type Call = readonly [call: (...args: any[]) => unknown, ...args: unknown[]];
function calls(context: headfirst.Context, model: headfirst.Model): Record<string, Call> {
  const optimizer = new AdamW(model);
  const tensor = Tensor.from(context, new Float32Array(22), [1, 2, 11]);
  const policy = { model, rewardFuncs, trainDataset: [{ prompt: [1] }] };
  const trainer = new GRPOTrainer({ ...policy, config: { maxSteps: 1, maxCompletionLength: 1 } });
  const first = async (steps: AsyncGenerator) => {
    for await (const _ of steps) break;
  };
  return {
    createContext: [createContext, {}],
    'Tensor.from': [Tensor.from, context, new Float32Array(2), [2]],
    'tensor.data': [(o) => tensor.data(o), {}],
    'Model.fromPretrained': [(d, o) => Model.fromPretrained(d, o), nowhere, {}],
    'Model.fromConfig': [(c, o) => Model.fromConfig(c, o), config, { context }],
    peftConfig: [
      (peftConfig) => Model.fromConfig(config, { context, peftConfig }),
      { r: 2, targetModules: 'all-linear' },
    ],
    targetModules: [
      (targetModules) => Model.fromConfig(config, { context, peftConfig: { targetModules } }),
      'all-linear',
    ],
    modulesToSave: [
      (modulesToSave) =>
        Model.fromConfig(config, { context, peftConfig: { targetModules: 'all-linear', modulesToSave } }),
      null,
    ],
    parameters: [(f) => model.parameters(f), /x/],
    setTrainable: [(w) => model.setTrainable(w), 'all'],
    clone: [(o) => model.clone(o), {}],
    getParameter: [(n) => model.getParameter(n), 'lm_head.weight'],
    setParameter: [(n, d) => model.setParameter(n, d), 'lm_head.weight', new Float32Array(88)],
    getGradient: [(n) => model.getGradient(n), 'lm_head.weight'],
    forward: [(b, o) => model.forward(b, o), batch, {}],
    logprobs: [(b, o) => model.logprobs(b, o), batch, {}],
    score: [(s, o) => model.score(s, o), samples, {}],
    features: [(s, o) => model.features(s, o), samples, {}],
    accumulateGradients: [
      (s, o) => model.accumulateGradients(s, o),
      samples,
      { loss: 'coefficients', coefficients: new Float32Array(2) },
    ],
    estimateTraining: [(s) => model.estimateTraining(s), { sequences: 1, sequenceLength: 2 }],
    'estimateTraining trainable': [
      (trainable) => model.estimateTraining({ sequences: 1, sequenceLength: 2, trainable }),
      'all',
    ],
    jvp: [(b, t, o) => model.jvp(b, t, o), batch, {}, {}],
    'jvp tangent': [(t) => model.jvp(batch, { 'lm_head.weight': t }), new Float32Array(88)],
    vjp: [(b, c, o) => model.vjp(b, c, o), batch, [tensor], {}],
    generate: [(p, o) => model.generate(p, o), [[1]], { maxNewTokens: 1 }],
    stop: [(stop) => model.generate([[1]], { maxNewTokens: 1, stop }), [3]],
    saveAdapter: [(d, o) => model.saveAdapter(d, o), nowhere, {}],
    loadAdapter: [(d, o) => model.loadAdapter(d, o), nowhere, {}],
    savePretrained: [(d) => model.savePretrained(d, { maxShardBytes: 0 }), nowhere],
    'savePretrained options': [(o) => model.savePretrained(temporaryDirectory(), o), {}],
    AdamW: [(m, o) => new AdamW(m, o), model, {}],
    'AdamW.step': [(o) => optimizer.step(o), { learningRate: 0 }],
    'AdamW.loadState': [(s) => optimizer.loadState(s), { step: 1, expAvg: {}, expAvgSq: {} }],
    policyGradient: [headfirst.policyGradient, plain, { context }],
    'policyGradient hidden': [
      (hidden) => headfirst.policyGradient({ ...plain, hidden }, { context }),
      plain.hidden,
    ],
    linearCrossEntropy: [headfirst.linearCrossEntropy, plain, { context }],
    'ntk.gram': [ntk.gram, model, samples, null, {}],
    'ntk.gram full': [(m, a, b) => ntk.gram(m, a, b, { outputs: 'full' }), model, samples, null],
    'ntk.decompose': [ntk.decompose, model, samples, null, {}],
    'ntk.estimate': [ntk.estimate, model, samples, null, {}],
    'ntk.sketch': [ntk.sketch, model, samples, null, { repeats: 2, size: 1 }],
    'ntk.vectorProduct': [ntk.vectorProduct, model, samples, null, new Float64Array(1), {}],
    'ntk.linearize': [ntk.linearize, model, {}],
    linearized: [
      async (...args) => (await ntk.linearize(model))(...(args as [Record<string, never>, []])),
      {},
      samples,
      {},
    ],
    perSampleGradients: [headfirst.perSampleGradients, model, samples, {}],
    perSampleGradientNorms: [headfirst.perSampleGradientNorms, model, samples, {}],
    jacobian: [headfirst.jacobian, model, [[1]], {}],
    'kernels.gemm': [kernels.gemm, { a: matrix(1, 1), b: matrix(1, 1) }, { context }],
    'kernels.gemmSync': [kernels.gemmSync, { a: matrix(1, 1), b: matrix(1, 1) }, {}],
    'gemm a': [(a) => kernels.gemmSync({ a, b: matrix(1, 1) }), matrix(1, 1)],
    'analysis.classifierNorm': [analysis.classifierNorm, model, model],
    'analysis.confidence': [analysis.confidence, model, samples, {}],
    'analysis.diversity': [analysis.diversity, [[1, 2]], {}],
    'analysis.explainStep': [
      analysis.explainStep,
      model,
      [{ ...samples[0], advantage: 1 }],
      [[1]],
      { learningRate: 0.1 },
    ],
    'explainStep targets': [
      (targets) =>
        analysis.explainStep(model, [{ ...samples[0]!, advantage: 1 }], [[1]], {
          learningRate: 0.1,
          targets,
        }),
      [1],
    ],
    'analysis.forecastEntropy': [analysis.forecastEntropy, [], { by: 'last', horizon: 1 }],
    'analysis.judgeForecast': [analysis.judgeForecast, [], [], { horizon: 1, threshold: 1 }],
    'analysis.featureSimilarity': [analysis.featureSimilarity, model, samples, {}],
    'analysis.featureDrift': [analysis.featureDrift, model, model, samples, {}],
    'analysis.record': [
      (...args) => first(analysis.record(...(args as Parameters<typeof analysis.record>))),
      trainer,
      { every: 1, probes: samples },
    ],
    'analysis.snapshot': [analysis.snapshot, model, samples, { states: 1 }],
    'analysis.spectrum': [analysis.spectrum, kernel(0.5), {}],
    'analysis.effectiveRank': [analysis.effectiveRank, kernel(0.5), {}],
    'analysis.kernelAlignment': [analysis.kernelAlignment, kernel(0.5), kernel(0.2)],
    'analysis.passAtK': [analysis.passAtK, 4, 2, 1],
    passAtK: [headfirst.passAtK, 4, 2, 1],
    'analysis.bestOfN': [analysis.bestOfN, [1, 2], 1],
    'analysis.majorityAtK': [analysis.majorityAtK, ['a'], [true], 1],
    evaluate: [headfirst.evaluate, model, { prompts: [[1]], reward: () => 1, maxNewTokens: 1 }],
    evaluateRewards: [
      headfirst.evaluateRewards,
      model,
      { rows: [{ prompt: [1] }], rewardFuncs, maxCompletionLength: 1, samples: 0 },
    ],
    'evaluateRewards rows': [
      (rows) => headfirst.evaluateRewards(model, { rows, rewardFuncs, maxCompletionLength: 1, samples: 0 }),
      [{ prompt: [1] }],
    ],
    GRPOTrainer: [(a) => new GRPOTrainer(a), policy],
    CFRLTrainer: [(a) => new CFRLTrainer(a), policy],
    PPOTrainer: [(a) => new PPOTrainer(a), policy],
    RLOOTrainer: [(a) => new RLOOTrainer(a), policy],
    SFTTrainer: [(a) => new SFTTrainer(a), { model, trainDataset: samples }],
    'GRPO rows': [
      (trainDataset) =>
        first(
          new GRPOTrainer({
            ...policy,
            trainDataset,
            config: { maxSteps: 1, maxCompletionLength: 1 },
          }).steps(),
        ),
      policy.trainDataset,
    ],
    'SFT rows': [
      (trainDataset) => first(new SFTTrainer({ model, trainDataset, config: { maxSteps: 1 } }).steps()),
      samples,
    ],
    'trainer.train': [(o) => trainer.train(o), { resumeFrom: nowhere }],
    'trainer.steps': [(o) => first(trainer.steps(o)), { resumeFrom: nowhere }],
    'trainer.evaluate': [(o) => trainer.evaluate(o), {}],
    'trainer.saveCheckpoint': [(d) => typeof d === 'string' || trainer.saveCheckpoint(d), nowhere],
    resolveConfig: [headfirst.resolveConfig, 'GRPOConfig', {}],
    configOptions: [headfirst.configOptions, 'GRPOConfig'],
    trainTestSplit: [headfirst.trainTestSplit, [1, 2], { testSize: 1 }],
    readJsonLines: [headfirst.readJsonLines, nowhere],
    openAIRollouts: [headfirst.openAIRollouts, { url: 'http://x' }],
    sglangRollouts: [headfirst.sglangRollouts, { url: 'http://x' }],
    sglangWeightSync: [headfirst.sglangWeightSync, { url: 'http://x', directory: 'x' }],
    httpReward: [headfirst.httpReward, { url: 'http://x' }],
    mathReward: [headfirst.mathReward, {}],
    lengthReward: [headfirst.lengthReward, {}],
    softOverlongPunishment: [
      headfirst.softOverlongPunishment,
      { maxCompletionLength: 5, softPunishCache: 1 },
    ],
    repetitionPenaltyReward: [headfirst.repetitionPenaltyReward, {}],
    regexReward: [headfirst.regexReward, 'x'],
    loadReward: [headfirst.loadReward, 'math'],
    sameAnswer: [headfirst.sameAnswer, '1', '1'],
  };
}
/** Functions without arguments, and the reports', which read directories of their own. */
const OUTSIDE = ['backends', 'thinkFormatReward', 'report', 'kernelRuns'];

let table: Record<string, Call>;
beforeAll(async () => {
  const context = await createContext({ device: 'cpu', threads: 1 });
  table = calls(context, await Model.fromConfig(config, { context }));
});

describe('wrong arguments', () => {
  it('the table has every exported function', () => {
    const functions = (module: object, prefix: string) =>
      Object.entries(module)
        .filter(([name, value]) => typeof value === 'function' && !OUTSIDE.includes(name))
        .map(([name]) => prefix + name);
    const exported = [
      ...functions(headfirst, ''),
      ...functions(ntk, 'ntk.'),
      ...functions(analysis, 'analysis.'),
    ];
    const covered = Object.keys(table).map((name) => name.split(' ')[0]!);
    expect(
      exported.filter(
        (name) =>
          !covered.includes(name) && !covered.some((one) => one.startsWith(`${name}.`)) && name !== 'Context',
      ),
    ).toEqual([]);
  });

  it('are refused with a code and a name, or are none', async () => {
    const raw: string[] = [];
    for (const [name, [call, ...right]] of Object.entries(table))
      for (const i of right.keys())
        for (const value of wrong) {
          const args = right.map((each, j) => (j === i ? value : each));
          await Promise.resolve()
            .then(() => call(...args))
            .catch((error: { code?: string; message: string }) => {
              if (
                !/^ERR_[A-Z_]+$/.test(error.code ?? '') ||
                error.code === 'ERR_INVALID_ARG_TYPE' ||
                !/^[\w.]+: |^reward /.test(error.message)
              )
                raw.push(`${name}, argument ${i}: ${String(error.message)}`);
            });
        }
    expect(raw).toEqual([]);
  });
});
