/**
 * Supervised training: the mean negative log-likelihood of the step's scored tokens. Fine-tuning, linear
 * probing and both in turn are its modes.
 */
import { check, checkOptions, object, shown } from '../../core/check.js';
import { fail } from '../../errors.js';
import { isPrompt, type Sample } from '../../model/batch.js';
import { type ChatMessage, isChat } from '../../model/chat/chat.js';
import type { TrainingShape } from '../../model/trainingEstimate.js';
import { encodePrompt } from '../../model/tokenizer/tokenizer.js';
import { resolveConfig, type ResolvedSFTConfig } from '../config/config.js';
import type { SFTConfig, StageConfig } from '../config/options.js';
import { longest } from '../run/memory.js';
import { resolveStages, stepsOf } from '../config/stages.js';
import {
  ARGUMENT,
  ARGUMENTS,
  type StepContext,
  type StepOutcome,
  Trainer,
  type TrainerArguments,
} from './trainer.js';

type Chat = readonly ChatMessage[];
type Tokens = string | readonly number[];

/**
 * Text completions and texts get the model's end-of-sequence token; token ids are used as they are; messages
 * go through the chat template, which closes turns itself. Of `messages` alone every token is learned, as of
 * a text.
 */
export type SFTRow =
  | Sample
  | { readonly prompt: Tokens; readonly completion: Tokens }
  | { readonly prompt: Chat; readonly completion: Chat }
  | { readonly messages: Chat }
  | { readonly text: string };

/** What SFTTrainer is made from. */
export interface SFTTrainerArguments extends TrainerArguments<SFTRow> {
  /** Those left out have the defaults of TRL's SFTTrainer. */
  readonly config?: SFTConfig | undefined;
}

/** Rows scored together in an evaluation: bounds memory. */
const EVAL_BATCH = 256;

function stagesOf(
  { mode, trainable, learningRate, lpSteps, lpLearningRate = learningRate }: ResolvedSFTConfig,
  steps: number,
): StageConfig[] {
  const probe: StageConfig = {
    name: 'lp',
    steps: mode === 'lp' ? steps : (lpSteps ?? steps),
    trainable: 'classifier',
    learningRate: lpLearningRate,
  };
  const tune: StageConfig = { name: mode === 'lp_ft' ? 'ft' : 'sft', steps, trainable, learningRate };
  return mode === 'lp' ? [probe] : mode === 'lp_ft' ? [probe, tune] : [tune];
}

/**
 * Supervised training of a model in place: the mean negative log-likelihood of a step's scored tokens
 * (perDeviceTrainBatchSize × gradientAccumulationSteps rows). Modes: fine-tuning, linear probing of the
 * classifier, and the two in turn (LP-FT, 2202.10054).
 * @throws ERR_INVALID_ARG (options, a row without a token to learn), ERR_UNSUPPORTED (text without a
 * tokenizer; the classifier apart in a tied model).
 */
export class SFTTrainer extends Trainer<SFTRow, ResolvedSFTConfig> {
  readonly #batchSize: number;

  constructor(args: SFTTrainerArguments) {
    checkOptions('SFTTrainer', args, ARGUMENTS, ARGUMENT);
    const config = resolveConfig('SFTConfig', args.config);
    const batchSize = config.perDeviceTrainBatchSize * config.gradientAccumulationSteps;
    super(args, config, (sampler) =>
      resolveStages(
        config.stages ?? stagesOf(config, stepsOf(config, batchSize, sampler.size, 'SFTTrainer')),
        config,
      ),
    );
    this.#batchSize = batchSize;
  }

  protected override async accumulate({ state, signal }: StepContext): Promise<StepOutcome> {
    const samples = this.sampler.rows(state.rows, this.#batchSize).map((row, i) => this.#sample(row, i));
    const tokens = samples.reduce((n, s) => n + s.inputIds.length - s.scoreFrom, 0);
    const { maxTokensInMemory, gradientCheckpointing } = this.config;
    const { logps, entropy, maxProb, argmax } = await this.model.accumulateGradients(samples, {
      loss: 'coefficients',
      coefficients: new Float32Array(tokens).fill(1 / tokens),
      argmax: true,
      signal,
      gradientCheckpointing,
      ...(maxTokensInMemory ? { maxTokens: maxTokensInMemory } : {}),
    });
    let right = 0;
    let row = 0;
    for (const { inputIds, scoreFrom } of samples)
      for (let t = scoreFrom; t < inputIds.length; ++t) if (argmax![row++] === inputIds[t]) ++right;
    const mean = (values: Float32Array) => values.reduce((a, b) => a + b, 0) / tokens;
    return {
      metrics: {
        loss: -mean(logps),
        entropy: mean(entropy),
        mean_token_accuracy: right / tokens,
        max_prob: mean(maxProb),
      },
      notes: [],
      rows: samples.length,
      sampled: 0,
      tokens: samples.reduce((n, s) => n + s.inputIds.length, 0),
    };
  }

  protected override shape(): Omit<TrainingShape, 'trainable'> {
    const sequenceLength = longest(
      this.sampler.some(this.#batchSize),
      ['inputIds', 'messages', 'text', 'prompt', 'completion'],
      (row) => this.#sample(row, 0).inputIds.length,
    );
    return { sequences: this.#batchSize, sequenceLength };
  }

  /** eval_loss (nats per scored token) and eval_entropy of the evalDataset. */
  override async evaluate(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Record<string, number | null>> {
    const { signal } = this.evaluationOptions(options);
    const rows = this.evalDataset ?? fail('ERR_INVALID_ARG', 'SFTTrainer.evaluate: there is no evalDataset');
    let [loss, entropy, tokens] = [0, 0, 0];
    for (let begin = 0; begin < rows.length; begin += EVAL_BATCH) {
      const scores = await this.model.score(
        rows.slice(begin, begin + EVAL_BATCH).map((row, i) => this.#sample(row, begin + i)),
        { signal },
      );
      for (const logp of scores.logps) loss -= logp;
      for (const h of scores.entropy) entropy += h;
      tokens += scores.logps.length;
    }
    return {
      eval_loss: tokens > 0 ? loss / tokens : null,
      eval_entropy: tokens > 0 ? entropy / tokens : null,
    };
  }

  #sample(row: SFTRow, index: number): Sample {
    check('SFTTrainer', `row ${index} of the batch`, row, object);
    const sample =
      'inputIds' in row
        ? row
        : 'text' in row
          ? { inputIds: this.#closed(row.text), scoreFrom: 1 }
          : 'messages' in row
            ? {
                inputIds: this.tokenizer.encodeChat(row.messages, {
                  kwargs: this.config.chatTemplateKwargs ?? {},
                }),
                scoreFrom: 1,
              }
            : this.#pair(row, index);
    const limit = Math.min(this.config.maxLength, this.model.spec.maxPositions);
    if (sample.scoreFrom >= Math.min(sample.inputIds.length, limit))
      fail(
        'ERR_INVALID_ARG',
        `SFTTrainer: row ${index} of the batch has no token to learn: ${sample.inputIds.length} tokens, scored from ${sample.scoreFrom}, cut to ${limit}; shorten the prompt or leave the row out`,
      );
    return sample.inputIds.length > limit ? { ...sample, inputIds: sample.inputIds.slice(0, limit) } : sample;
  }

  #pair(
    { prompt, completion }: { readonly prompt: Tokens | Chat; readonly completion: Tokens | Chat },
    index: number,
  ): Sample {
    if (!isPrompt(prompt) || !isPrompt(completion))
      fail(
        'ERR_INVALID_ARG',
        `SFTTrainer: row ${index} of the batch must have prompt and completion (text, token ids or messages), messages, text, or inputIds and scoreFrom, got prompt ${shown(prompt)} and completion ${shown(completion)}`,
      );
    const head = encodePrompt(() => this.tokenizer, prompt, this.config.chatTemplateKwargs);
    const scoreFrom = this.config.completionOnlyLoss ? head.length : 1;
    if (!isChat(prompt)) {
      const tail =
        typeof completion === 'string'
          ? this.#closed(completion, { addSpecialTokens: false })
          : (completion as readonly number[]);
      return { inputIds: [...head, ...tail], scoreFrom };
    }
    const inputIds = this.tokenizer.encodeChat([...prompt, ...(completion as Chat)], {
      kwargs: this.config.chatTemplateKwargs ?? {},
    });
    if (head.some((id, t) => inputIds[t] !== id))
      fail(
        'ERR_INVALID_ARG',
        `SFTTrainer: row ${index} of the batch: the chat template does not write prompt and completion as it writes the prompt and more, so where the completion begins is unknown; give the row as messages, or as text`,
      );
    return { inputIds, scoreFrom };
  }

  #closed(text: string, options?: { readonly addSpecialTokens: boolean }): number[] {
    const ids = this.tokenizer.encode(text, options);
    const eos = [this.model.generationConfig['eos_token_id'] ?? this.model.config['eos_token_id']].flat()[0];
    return typeof eos === 'number' && ids.at(-1) !== eos ? [...ids, eos] : ids;
  }
}
