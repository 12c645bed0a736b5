import { Command, Option } from 'commander';
import { join } from 'node:path';

import { fail } from '../../errors.js';
import type { Model } from '../../model/model.js';
import type { RolloutSource } from '../../rl/index.js';
import { collect, commandLine, onlyOnce, printJson, real, thisCommand, threadsOption } from '../flags.js';
import { longJob } from '../interrupt.js';
import { glance } from '../progress.js';
import { writeSummary } from '../summary.js';
import { type Config, settingsOf } from '../trainSettings.js';
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

export const train = (): Command =>
  new Command('train')
    .description('RL post-training of a model directory on prompts with a reward, or supervised training')
    .requiredOption('--model <dir>', 'Hugging Face directory to start from')
    .requiredOption(
      '--data <file>',
      'JSON lines (.jsonl, .jsonl.gz), each with "prompt" (text, token ids or chat messages) and any columns ' +
        'the reward reads; for sft "prompt" and "completion", "messages" or "text"',
      onlyOnce,
    )
    .option(
      '--eval-data <file>',
      'held-out rows of the same kind, evaluated every evalSteps steps, without evalSteps at the end',
      onlyOnce,
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
      'trainer options as JSON, TRL’s names in camelCase or snake_case; ' +
        'peft_config { r, lora_alpha, target_modules } trains LoRA adapters, bf16 true multiplies in bfloat16',
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
    .action(run);

async function run(options: Options): Promise<void> {
  const settings = settingsOf(options);
  checkMethod(options);
  const [{ createContext }, { Model: Models }, { loadReward }, { report }, { describeMemory }] =
    await Promise.all([
      import('../../core/context.js'),
      import('../../model/model.js'),
      import('../../rl/index.js'),
      import('../../report/index.js'),
      import('../../rl/run/memory.js'),
    ]);
  const { out, peftConfig } = settings;
  const rewardFuncs = await Promise.all((options.reward ?? []).map((spec) => loadReward(spec)));
  const rows = await readRows(options, settings.trainer['seed']);
  using context = await createContext({ threads: options.threads });
  using model = await Models.fromPretrained(options.model, {
    context,
    untieClassifier: options.untie === true,
    peftConfig,
    dtype: settings.bf16 ? 'bfloat16' : 'float32',
  });
  const checkpoint = options.resume ? await checkpointIn(out) : undefined;
  const trainer = await makeTrainer(options, {
    model,
    ...rows,
    rewardFuncs,
    config: {
      ...settings.trainer,
      outputDir: out,
      // A run that was stopped before its first checkpoint begins again in its place.
      ...(options.resume && checkpoint === undefined ? { overwriteOutputDir: true } : {}),
    },
  });
  process.stderr.write(`Memory: about ${describeMemory(trainer.estimateMemory())}\n`);

  const goOn = `${thisCommand('--resume')} --resume`;
  const result = await longJob({ goOn }, (signal, progress) =>
    trainer.train({
      signal,
      resumeFrom: checkpoint,
      onProgress: ({ step, totalSteps, stage, metrics }) =>
        progress.update(stage, step, totalSteps, glance(metrics)),
    }),
  );

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
}

function checkMethod({ method, rollouts, reward }: Options): void {
  const supervised = method === 'sft';
  if (supervised && rollouts !== undefined)
    fail('ERR_INVALID_ARG', 'train: --method sft samples nothing; leave --rollouts out');
  if (supervised && reward) fail('ERR_INVALID_ARG', `train: --method ${method} takes no --reward`);
  if (!supervised && !reward) fail('ERR_INVALID_ARG', `train: --method ${method} needs a --reward`);
}

/** The trainer checks its rows itself. */
// biome-ignore lint/suspicious/noExplicitAny: rows differ from method to method
type Rows = any[];

interface Datasets {
  readonly trainDataset: Rows;
  readonly evalDataset: Rows | undefined;
}

async function readRows(options: Options, seed: unknown): Promise<Datasets> {
  const { readJsonLines, trainTestSplit } = await import('../../rl/index.js');
  const rows: Rows = await readJsonLines(options.data);
  if (options.evalSplit !== undefined) {
    const { train: trainDataset, test: evalDataset } = trainTestSplit(rows, {
      testSize: options.evalSplit,
      ...(typeof seed === 'number' ? { seed } : {}),
    });
    return { trainDataset, evalDataset };
  }
  const evalDataset = options.evalData === undefined ? undefined : await readJsonLines(options.evalData);
  return { trainDataset: rows, evalDataset: evalDataset as Rows | undefined };
}

async function checkpointIn(out: string): Promise<string | undefined> {
  const { latestCheckpoint } = await import('../../rl/run/checkpoint.js');
  const checkpoint = await latestCheckpoint(out);
  if (checkpoint === undefined) process.stderr.write(`No checkpoint in ${out}: from the first step\n`);
  return checkpoint;
}

interface Ingredients extends Datasets {
  readonly model: Model;
  readonly rewardFuncs: Awaited<ReturnType<typeof import('../../rl/index.js').loadReward>>[];
  readonly config: Config;
}

async function makeTrainer(options: Options, { rewardFuncs, ...common }: Ingredients) {
  const { CFRLTrainer, GRPOTrainer, PPOTrainer, RLOOTrainer, SFTTrainer } = await import('../../rl/index.js');
  if (options.method === 'sft') return new SFTTrainer(common);
  const trainers = { grpo: GRPOTrainer, cfrl: CFRLTrainer, rloo: RLOOTrainer, ppo: PPOTrainer };
  const Trainer = trainers[options.method];
  return new Trainer({ ...common, rewardFuncs, rollouts: await rolloutSource(options) });
}

async function rolloutSource({ rollouts: url, rolloutApi }: Options): Promise<RolloutSource | undefined> {
  if (url === undefined) return undefined;
  const { openAIRollouts, sglangRollouts } = await import('../../rl/index.js');
  return rolloutApi === 'sglang' ? sglangRollouts({ url }) : openAIRollouts({ url });
}
