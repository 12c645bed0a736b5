import { Command, Option } from 'commander';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { camelCaseKeys } from '../../core/names.js';
import { fail } from '../../errors.js';
import { interruptible } from '../interrupt.js';
import { collect, commandLine, printJson, real, threadsOption } from '../flags.js';
import { glance, Progress } from '../progress.js';
import { writeSummary } from '../summary.js';
import { environmentOf } from '../version.js';

interface Options {
  readonly model: string;
  readonly data: string;
  readonly evalData?: string;
  readonly evalSplit?: number;
  readonly reward?: readonly string[];
  readonly rollouts?: string;
  readonly rolloutApi: 'vllm' | 'sglang';
  readonly method: 'grpo' | 'cfrl' | 'rloo' | 'ppo' | 'sft';
  readonly config?: string;
  readonly set?: readonly string[];
  readonly out?: string;
  readonly threads?: number;
  readonly resume?: boolean;
  readonly untie?: boolean;
  readonly json?: boolean;
}

function readConfig(file: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    fail('ERR_IO', `train: --config ${file} could not be read: ${(error as Error).message}`, error);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    fail('ERR_INVALID_ARG', `train: --config ${file} must hold one object of options`);
  return parsed as Record<string, unknown>;
}

/** `key=value`, the value as JSON where it is JSON and as text where it is not. */
function setting(text: string): [string, unknown] {
  const at = text.indexOf('=');
  if (at <= 0) fail('ERR_INVALID_ARG', `train: --set must be key=value, got '${text}'`);
  const value = text.slice(at + 1);
  try {
    return [text.slice(0, at), JSON.parse(value)];
  } catch {
    return [text.slice(0, at), value];
  }
}

export const train = (): Command =>
  new Command('train')
    .description('RL post-training of a model directory on prompts with a reward, or supervised training')
    .requiredOption('--model <dir>', 'Hugging Face directory to start from')
    .requiredOption(
      '--data <file>',
      'JSON lines (.jsonl, .jsonl.gz), each with "prompt" (text, token ids or chat messages) and any columns the ' +
        'reward reads; for sft "prompt" and "completion", "messages" or "text"',
    )
    .option(
      '--eval-data <file>',
      'held-out rows of the same kind, evaluated every evalSteps steps, without evalSteps at the end',
    )
    .addOption(
      new Option('--eval-split <n>', 'hold out this many rows of --data, or below 1 this share')
        .argParser(real(0))
        .conflicts('evalData'),
    )
    .option(
      '--reward <what>',
      'math, regex:PATTERN, think, repetition, overlong:MAX,CACHE, length:TOKENS, the address of a reward ' +
        'server, or a module (.js, .mjs) that exports a reward function; may be repeated',
      collect,
    )
    .addOption(
      new Option('--method <name>', 'cfrl trains the classifier first')
        .choices(['grpo', 'cfrl', 'rloo', 'ppo', 'sft'])
        .default('grpo'),
    )
    .option(
      '--rollouts <url>',
      'sample on this server instead of here, and weigh the difference (docs/training.md)',
    )
    .addOption(
      new Option('--rollout-api <name>', 'what it speaks: vLLM’s OpenAI route or SGLang’s /generate')
        .choices(['vllm', 'sglang'])
        .default('vllm'),
    )
    .option(
      '--config <file>',
      'trainer options as JSON, TRL’s names in camelCase or snake_case; peft_config { r, lora_alpha, ' +
        'target_modules } trains LoRA adapters, bf16 true multiplies in bfloat16',
    )
    .option('--set <key=value>', 'one trainer option, over --config; may be repeated', collect)
    .option(
      '--out <dir>',
      'where metrics, checkpoints, the model and the report go (default: output_dir of --config, or runs/train)',
    )
    .option('--resume', 'go on from the last checkpoint in --out')
    .option('--untie', 'give a tied model a classifier of its own (cfrl needs one)')
    .addOption(threadsOption())
    .option('--json', 'print the result as JSON')
    .action(async (options: Options) => {
      const [
        { createContext },
        { Model },
        {
          CFRLTrainer,
          GRPOTrainer,
          PPOTrainer,
          RLOOTrainer,
          SFTTrainer,
          openAIRollouts,
          sglangRollouts,
          readJsonLines,
          loadReward,
          trainTestSplit,
        },
        { report },
        { describeMemory },
        { latestCheckpoint },
      ] = await Promise.all([
        import('../../core/context.js'),
        import('../../model/model.js'),
        import('../../rl/index.js'),
        import('../../report/index.js'),
        import('../../rl/run/memory.js'),
        import('../../rl/run/checkpoint.js'),
      ]);
      const config = camelCaseKeys({
        ...(options.config ? readConfig(options.config) : {}),
        ...Object.fromEntries((options.set ?? []).map(setting)),
      }) as Record<string, unknown>;
      const { peftConfig, bf16 = false, outputDir, ...trainerConfig } = config;
      const given = (name: string, value: unknown, what: string) =>
        fail('ERR_INVALID_ARG', `train: ${name} must be ${what}, got ${JSON.stringify(value)}`);
      if (typeof bf16 !== 'boolean') given('bf16', bf16, 'true or false');
      if (
        peftConfig !== undefined &&
        (typeof peftConfig !== 'object' || peftConfig === null || Array.isArray(peftConfig))
      )
        given('peftConfig', peftConfig, 'an object like {"r": 8, "lora_alpha": 16}');
      if (outputDir !== undefined && (typeof outputDir !== 'string' || outputDir === ''))
        given('outputDir', outputDir, 'a directory');
      if (options.out !== undefined && outputDir !== undefined && options.out !== outputDir)
        fail(
          'ERR_INVALID_ARG',
          `train: --out ${options.out} and outputDir ${String(outputDir)} disagree; give one of them`,
        );
      const out = options.out ?? (outputDir as string | undefined) ?? join('runs', 'train');
      if (options.method === 'sft' && options.rollouts !== undefined)
        fail('ERR_INVALID_ARG', 'train: --method sft samples nothing; leave --rollouts out');
      if (options.method === 'sft' ? options.reward : !options.reward)
        fail(
          'ERR_INVALID_ARG',
          `train: --method ${options.method} ${options.reward ? 'takes no --reward' : 'needs a --reward'}`,
        );
      const rewardFuncs = await Promise.all((options.reward ?? []).map((spec) => loadReward(spec)));
      const read = (file: string) => readJsonLines<any>(file); // the trainer checks rows
      const rows = await read(options.data);
      const { train: trainDataset, test: evalDataset } =
        options.evalSplit === undefined
          ? { train: rows, test: options.evalData === undefined ? undefined : await read(options.evalData) }
          : trainTestSplit(rows, {
              testSize: options.evalSplit,
              ...(typeof config['seed'] === 'number' ? { seed: config['seed'] } : {}),
            });
      using context = await createContext(options.threads ? { threads: options.threads } : {});
      using model = await Model.fromPretrained(options.model, {
        context,
        untieClassifier: options.untie === true,
        ...(peftConfig ? { peftConfig } : {}),
        ...(bf16 ? { dtype: 'bfloat16' } : {}),
      });
      const rollouts =
        options.rollouts === undefined
          ? undefined
          : (options.rolloutApi === 'sglang' ? sglangRollouts : openAIRollouts)({ url: options.rollouts });
      const checkpoint = options.resume ? await latestCheckpoint(out) : undefined;
      // A run that was stopped before its first checkpoint begins again in its place.
      const anew = options.resume === true && checkpoint === undefined;
      if (anew) process.stderr.write(`No checkpoint in ${out}: from the first step\n`);
      const common = {
        model,
        trainDataset,
        evalDataset,
        config: { ...trainerConfig, outputDir: out, ...(anew ? { overwriteOutputDir: true } : {}) },
      };
      const trainer =
        options.method === 'sft'
          ? new SFTTrainer(common)
          : new { grpo: GRPOTrainer, cfrl: CFRLTrainer, rloo: RLOOTrainer, ppo: PPOTrainer }[options.method]({
              ...common,
              rewardFuncs,
              rollouts,
            });
      process.stderr.write(`Memory: about ${describeMemory(trainer.estimateMemory())}\n`);
      const progress = new Progress();
      const again = commandLine(...process.argv.slice(2).filter((word) => word !== '--resume'), '--resume');
      const result = await interruptible({ goOn: again }, (signal) =>
        trainer.train({
          signal,
          resumeFrom: checkpoint,
          onProgress: ({ step, totalSteps, stage, metrics }) =>
            progress.update(stage, step, totalSteps, glance(metrics)),
        }),
      ).finally(() => progress.end());
      const saved = join(out, 'model');
      await model.savePretrained(saved);
      if (peftConfig) await model.saveAdapter(join(out, 'adapter'));
      const page = join(out, 'report.html');
      writeSummary('train', out, {
        title: `${options.method} from ${options.model}`,
        command: commandLine(...process.argv.slice(2)),
        environment: environmentOf(context),
      });
      await report.write(out, page);
      if (options.json) printJson({ ...result, model: saved, report: page });
      else process.stdout.write(`${report.terminal(out)}\n\nModel: ${saved}\nReport: ${page}\n`);
    });
