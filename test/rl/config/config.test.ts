import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import type { Schedule } from '../../../src/rl/config/stages.js';
import { learningRateAt } from '../../../src/rl/run/schedule.js';
import * as losses from '../../../src/policy/losses.js';
import { optionsPage } from '../../../scripts/generate-options.mjs';
import { configOptions, resolveConfig } from '../../../src/rl/config/config.js';

/**
 * GRPOConfig and its bases at trl f2cd577; SFTConfig beside it. Where ours differs on purpose, the second
 * column says to what.
 */
const TRL_GRPO: Record<string, unknown> = {
  learning_rate: 1e-6,
  num_generations: 8,
  max_completion_length: 512,
  temperature: 1,
  top_p: 1,
  top_k: 0,
  min_p: null,
  beta: 0,
  num_iterations: 1,
  epsilon: 0.2,
  epsilon_high: null,
  importance_sampling_level: 'token',
  multi_objective_aggregation: 'sum_then_normalize',
  scale_rewards: 'group',
  loss_type: 'dapo',
  mask_truncated_completions: false,
  entropy_coef: 0,
  use_adaptive_entropy: false,
  entropy_coef_min: 0,
  entropy_coef_max: 1,
  entropy_coef_delta: 0.005,
  entropy_target: 0.2,
  top_entropy_quantile: 1,
  delta: null,
  off_policy_mask_threshold: null,
  use_bias_correction_kl: false,
  vllm_importance_sampling_correction: true,
  vllm_importance_sampling_mode: 'sequence_mask',
  vllm_importance_sampling_clip_max: 3,
  vllm_importance_sampling_clip_min: null,
  log_completions: false,
  shuffle_dataset: true,
  max_grad_norm: 1,
  adam_beta1: 0.9,
  adam_beta2: 0.999,
  adam_epsilon: 1e-8,
  weight_decay: 0,
  per_device_train_batch_size: 8,
  gradient_accumulation_steps: 1,
  lr_scheduler_type: 'linear',
  warmup_steps: 0,
  max_steps: -1,
  num_train_epochs: 3,
  seed: 42,
  save_steps: 500,
};
const camel = (name: string) => name.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());
const code = (config: unknown, name: 'GRPOConfig' | 'CFRLConfig' | 'SFTConfig' = 'GRPOConfig') => {
  try {
    resolveConfig(name, config);
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`;
  }
  return 'accepted';
};

describe('options', () => {
  it.each(Object.entries(TRL_GRPO))('default of %s is TRL’s', (name, value) => {
    expect(resolveConfig('GRPOConfig', {})[camel(name) as 'seed']).toEqual(value);
  });
  it('accepts every TRL name in snake_case, and values with underscores as they are', () => {
    const config = resolveConfig('GRPOConfig', {
      ...TRL_GRPO,
      loss_type: 'dr_grpo',
      lr_scheduler_kwargs: { min_lr_rate: 0.1 },
    });
    expect(config.lossType).toBe('dr_grpo');
    expect(config.lrSchedulerKwargs).toEqual({ minLrRate: 0.1 });
  });
  it('leaves a chat template’s own variables as they are', () =>
    expect(
      resolveConfig('GRPOConfig', { chat_template_kwargs: { enable_thinking: false } }).chatTemplateKwargs,
    ).toEqual({ enable_thinking: false }));
  it('SFT and CF-RL defaults', () => {
    expect(resolveConfig('SFTConfig', {})).toMatchObject({ learningRate: 2e-5, maxLength: 1024 });
    expect(resolveConfig('CFRLConfig', {})).toMatchObject({ classifierSteps: 20, learningRate: 1e-6 });
  });
  it('maps TRL’s boolean scale_rewards', () => {
    expect(resolveConfig('GRPOConfig', { scaleRewards: true }).scaleRewards).toBe('group');
    expect(resolveConfig('GRPOConfig', { scale_rewards: false }).scaleRewards).toBe('none');
  });
  it.each([
    [{ numGeneration: 8 }, "Did you mean 'numGenerations'?"],
    [{ learning_rte: 1 }, "Did you mean 'learningRate'?"],
    [{ temperature: 0 }, 'temperature'],
    [{ temperature: NaN }, 'temperature'],
    [{ lossType: 'gppo' }, 'lossType'],
    [{ numGenerations: 1 }, 'at least 2'],
    [{ perDeviceTrainBatchSize: 6 }, 'multiple of numGenerations'],
    [{ maxSteps: 0 }, 'maxSteps'],
    [{ advantageEstimator: 'rloo', scaleRewards: 'batch' }, 'normalizeAdvantages'],
    [{ normalizeAdvantages: true }, 'scaleRewards'],
    [{ stages: [{ name: 'a', steps: 1, trainable: 'all', learningRate: 1 }], maxSteps: 3 }, 'exclude'],
    [{ stages: [{ name: 'a', steps: 1, trainable: 'all', learningRte: 1 }] }, 'learningRte'],
    [[], 'object'],
    [{ use_vllm: true }, 'openAIRollouts'],
    [{ gamma: 0.9 }, "belongs to advantageEstimator 'reinforce_plus_plus' and 'gae'"],
    [{ useBiasCorrectionKl: true, klInReward: true }, 'useBiasCorrectionKl'],
    [{ lossType: 'cispo', delta: 2 }, 'epsilonHigh'],
  ])('refuses %j', (config, part) => {
    expect(code(config)).toContain('ERR_INVALID_ARG');
    expect(code(config)).toContain(part);
  });
});

/** Of TRL's trainers and transformers' TrainingArguments: no meaning here. */
const FOREIGN =
  `warmup_ratio save_strategy eval_strategy bf16 fp16 tf32 num_mini_batches steps_per_generation generation_batch_size sync_ref_model ref_model_sync_steps repetition_penalty vllm_server_host
  vllm_gpu_memory_utilization vllm_tensor_parallel_size vllm_mode max_prompt_length tools remove_unused_columns optim deepspeed fsdp torch_compile push_to_hub run_name logging_dir dataloader_num_workers
  per_device_eval_batch_size load_best_model_at_end gradient_checkpointing_kwargs use_liger_kernel packing padding_free dataset_text_field assistant_only_loss cast_lm_head_to_fp32 num_completions_to_print
  log_unique_prompts model_init_kwargs disable_dropout ds3_gather_for_generation kl_coef num_ppo_epochs response_length rloo_k missing_eos_penalty stop_token total_episodes max_seq_length reward_model_path
  neftune_noise_alpha full_determinism resume_from_checkpoint data_seed logging_strategy eval_on_start chat_template_path`.split(
    /\s+/,
  );

describe('what TRL has and this has not', () => {
  it.each(FOREIGN)('%s: what to do instead', (name) =>
    expect(code({ [name]: 1 })).toMatch(
      new RegExp(`^ERR_INVALID_ARG GRPOConfig: there is no option '${camel(name)}': .{10}`),
    ),
  );
});

describe('docs/options.md', () => {
  const page = readFileSync(new URL('../../../docs/options.md', import.meta.url), 'utf8');
  it('is what scripts/generate-options.mjs makes', () =>
    expect(page, 'run: npm run build:options').toBe(optionsPage(resolveConfig, losses)));
  it('has every option, with its meaning', () => {
    const names = (['GRPOConfig', 'CFRLConfig', 'RLOOConfig', 'PPOConfig', 'SFTConfig'] as const).flatMap(
      configOptions,
    );
    expect(
      [...new Set(names)].filter(
        (name) => !new RegExp(`^\\| \`${name}\` \\| .+ \\| .+ \\| .{3,} \\|$`, 'm').test(page),
      ),
    ).toEqual([]);
  });
});

describe('schedules, as transformers has them', () => {
  const schedule = (rest: Partial<Schedule>): Schedule => ({
    learningRate: 2,
    lrSchedulerType: 'linear',
    lrSchedulerKwargs: {},
    warmupSteps: 0,
    steps: 10,
    ...rest,
  });
  const rates = (rest: Partial<Schedule>, steps = [0, 1, 2, 5, 9]) =>
    steps.map((step) => learningRateAt(schedule(rest), step));
  it('constant', () =>
    expect(rates({ lrSchedulerType: 'constant', warmupSteps: 4 })).toEqual([2, 2, 2, 2, 2]));
  it('linear', () =>
    rates({}).forEach((rate, i) => expect(rate).toBeCloseTo(2 * (1 - [0, 1, 2, 5, 9][i]! / 10), 12)));
  it('warm-up starts at 0 and ends at the peak', () =>
    expect(rates({ lrSchedulerType: 'constant_with_warmup', warmupSteps: 2 })).toEqual([0, 1, 2, 2, 2]));
  it('a warm-up share', () =>
    expect(rates({ lrSchedulerType: 'constant_with_warmup', warmupSteps: 0.2 })).toEqual([0, 1, 2, 2, 2]));
  it('cosine', () =>
    rates({ lrSchedulerType: 'cosine' }).forEach((rate, i) =>
      expect(rate).toBeCloseTo(1 + Math.cos((Math.PI * [0, 1, 2, 5, 9][i]!) / 10), 12),
    ));
  it('cosine to a floor', () => {
    expect(
      learningRateAt(
        schedule({ lrSchedulerType: 'cosine_with_min_lr', lrSchedulerKwargs: { minLrRate: 0.05 } }),
        10,
      ),
    ).toBeCloseTo(0.1, 12);
    expect(
      learningRateAt(
        schedule({ lrSchedulerType: 'cosine_with_min_lr', lrSchedulerKwargs: { minLr: 0.3 } }),
        10,
      ),
    ).toBeCloseTo(0.3, 12);
  });
});
