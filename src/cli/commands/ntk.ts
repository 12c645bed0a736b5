import { Argument, Command, Option } from 'commander';

import { bytesText, flopsText, secondsText } from '../../core/units.js';
import { fail } from '../../errors.js';
import type { Sample } from '../../model/batch.js';
import type { Model } from '../../model/model.js';
import type { Estimate } from '../../ntk/kernelEstimate.js';
import {
  checkWritable,
  integer,
  onlyOnce,
  pattern,
  printJson,
  thisCommand,
  threadsOption,
} from '../flags.js';
import { longJob } from '../interrupt.js';
import { analysisText, type KernelFacts } from '../ntkText.js';
import { environmentOf } from '../version.js';

type What = 'gram' | 'decompose' | 'spectrum';

const IMPLEMENTATIONS = [
  'auto',
  'structured-derivatives',
  'jacobian-contraction',
  'ntk-vector-products',
] as const;

interface Options {
  readonly model: string;
  readonly data: string;
  readonly level: 'sequence' | 'token';
  readonly implementation?: (typeof IMPLEMENTATIONS)[number];
  readonly parts?: boolean;
  readonly params?: RegExp;
  readonly math: 'fp32' | 'fp64';
  readonly maxBytes?: number;
  readonly threads?: number;
  readonly out?: string;
  readonly json?: boolean;
}

export const ntk = (): Command =>
  new Command('ntk')
    .description(
      'the empirical neural tangent kernel of samples: whole, split into the paper’s components, or its spectrum',
    )
    .addArgument(new Argument('<what>', 'what to compute').choices(['gram', 'decompose', 'spectrum']))
    .requiredOption('--model <dir>', 'Hugging Face directory')
    .requiredOption(
      '--data <file>',
      'samples.jsonl: rows {"prompt", "completion"} or {"inputIds", "scoreFrom"}',
      onlyOnce,
    )
    .addOption(
      new Option('--level <level>', 'one function per sample, or per scored token')
        .choices(['sequence', 'token'])
        .default('sequence'),
    )
    .option('--parts', 'gram: also one kernel per parameter')
    .option('--params <regexp>', 'only parameters whose name matches', pattern)
    .addOption(
      new Option('--implementation <name>', 'gram, spectrum: how (default: auto)').choices(IMPLEMENTATIONS),
    )
    .addOption(
      new Option('--math <mode>', 'fp64: the plain reference in double, for small models')
        .choices(['fp32', 'fp64'])
        .default('fp32'),
    )
    .option(
      '--max-bytes <n>',
      'working memory and result stay within this (default: half of the free memory)',
      integer(1),
    )
    .addOption(threadsOption())
    .option(
      '--out <file.npy>',
      'write the kernel ([n, n]; with --parts or decompose [parts, n, n]) for numpy.load, ' +
        'and names and figures beside it as .json',
    )
    .option('--json', 'print everything as JSON')
    .action(run);

async function run(what: What, options: Options): Promise<void> {
  await checkOptions(what, options);
  const [{ createContext }, { Model: Models }, { estimate }, { readSamples }] = await Promise.all([
    import('../../core/context.js'),
    import('../../model/model.js'),
    import('../../ntk/index.js'),
    import('../samples.js'),
  ]);
  using context = await createContext({ math: options.math, threads: options.threads });
  using model = await Models.fromPretrained(options.model, { context });
  const samples = await readSamples(model, options.data);
  const expected = await estimate(model, samples, null, gramOptions(what, options));
  process.stderr.write(estimateText(expected, samples.length));

  const began = performance.now();
  const kernels = await computeKernels(what, model, samples, options);
  const seconds = (performance.now() - began) / 1000;
  const facts = {
    what,
    model: options.model,
    data: options.data,
    level: options.level,
    shape: kernels.shape,
    samples: samples.length,
    parts: kernels.names.map((name, i) => ({ name, trace: traceOf(kernels, i) })),
    ...(what === 'spectrum' ? { spectrum: await computeSpectrum(kernels) } : {}),
    estimate: expected,
    seconds,
    environment: environmentOf(context),
  };
  if (options.out) await write(options.out, kernels, facts);
  if (!options.json) {
    process.stdout.write(`${analysisText(facts)}\n`);
    return;
  }
  const parts = facts.parts.map((part, i) => ({ ...part, kernel: rowsOf(kernels, i) }));
  printJson({ ...facts, parts });
}

async function checkOptions(what: What, { parts, implementation, out }: Options): Promise<void> {
  if (parts && what !== 'gram')
    fail('ERR_INVALID_ARG', `ntk ${what}: there are no --parts; use ntk gram --parts, or leave it out`);
  if (implementation && what === 'decompose')
    fail('ERR_INVALID_ARG', 'ntk decompose: there is no choice of --implementation; leave it out');
  if (out) await checkWritable('ntk', out);
}

const sharedOptions = ({ level, params, maxBytes }: Options) => ({ level, params, maxBytes });

const gramOptions = (what: What, options: Options) => ({
  ...sharedOptions(options),
  implementation: options.implementation ?? 'auto',
  parts: what === 'gram' && options.parts === true,
});

/** Square matrices, row-major, each of `shape`. */
interface Kernels {
  readonly shape: readonly number[];
  readonly names: readonly string[];
  readonly matrices: readonly Float64Array[];
}

async function computeKernels(
  what: What,
  model: Model,
  samples: readonly Sample[],
  options: Options,
): Promise<Kernels> {
  const { decompose, gram } = await import('../../ntk/index.js');
  return longJob({ again: thisCommand() }, async (signal, progress) => {
    const phase = what === 'spectrum' ? 'kernel' : what;
    const job = {
      signal,
      onProgress: (done: number, total: number) => progress.update(phase, done, total),
    };
    if (what === 'decompose') {
      const { shape, ...components } = await decompose(model, samples, null, {
        ...sharedOptions(options),
        ...job,
      });
      return { shape, names: Object.keys(components), matrices: Object.values(components) };
    }
    const found = await gram(model, samples, null, { ...gramOptions(what, options), ...job });
    const parts = found.parts ?? [];
    return {
      shape: found.shape,
      names: ['total', ...parts.map(({ name }) => name)],
      matrices: [found.kernel, ...parts.map(({ kernel }) => kernel)],
    };
  });
}

async function computeSpectrum({ shape, matrices }: Kernels): Promise<NonNullable<KernelFacts['spectrum']>> {
  const { spectrum } = await import('../../analysis/spectrum.js');
  const n = shape[0]!;
  return longJob({ again: thisCommand() }, async (signal, progress) => {
    progress.update('eigenvalues', 0, n);
    const found = await spectrum({ kernel: matrices[0]!, shape }, { signal });
    progress.update('eigenvalues', n, n);
    // JSON has no infinity.
    const condition = Number.isFinite(found.condition) ? found.condition : null;
    return { ...found, condition, eigenvalues: [...found.eigenvalues] };
  });
}

function traceOf({ shape, matrices }: Kernels, which: number): number {
  const n = shape[0]!;
  let sum = 0;
  for (let i = 0; i < n; ++i) sum += matrices[which]![i * n + i]!;
  return sum;
}

function rowsOf({ shape, matrices }: Kernels, which: number): number[][] {
  const n = shape[0]!;
  return Array.from({ length: n }, (_, i) => [...matrices[which]!.subarray(i * n, (i + 1) * n)]);
}

/** One matrix as [n, n], several as [parts, n, n]; what they are, in a JSON file beside it. */
async function write(file: string, { shape, matrices }: Kernels, facts: object): Promise<void> {
  const [{ writeNpy }, { writeAll, writeFileAtomically }] = await Promise.all([
    import('../../core/npy.js'),
    import('../../core/files.js'),
  ]);
  const n = shape[0]!;
  const numbers = new Float64Array(n * n * matrices.length);
  matrices.forEach((matrix, i) => {
    numbers.set(matrix, i * n * n);
  });
  await writeNpy('ntk', file, numbers, matrices.length > 1 ? [matrices.length, n, n] : [n, n]);
  const sidecar = `${file.replace(/\.npy$/, '')}.json`;
  const json = Buffer.from(`${JSON.stringify(facts, null, 2)}\n`);
  await writeFileAtomically('ntk', sidecar, (handle) => writeAll(handle, json));
  process.stderr.write(`written · ${file}, ${sidecar}\n`);
}

function estimateText(estimate: Estimate, sampleCount: number): string {
  const { shape, implementation, choices, flops, bytes, blocks, resultBytes, seconds, flopsPerSecond } =
    estimate;
  const count = (form: string) => choices.filter((choice) => choice.form === form).length;
  const forms =
    choices.length === 0
      ? ''
      : ` (${count('ghost')} matrices in ghost form, ${count('blocked')} in blocked form)`;
  const size = `${bytesText(bytes)} working memory in ${blocks} block${blocks === 1 ? '' : 's'}`;
  const time = `about ${secondsText(seconds)} at ${flopsText(flopsPerSecond)}/s`;
  return (
    `${shape[0]} functions of ${sampleCount} samples · ${implementation}${forms}\n` +
    `estimate · ${flopsText(flops)}, ${size}, ${bytesText(resultBytes)} result, ${time}\n`
  );
}
