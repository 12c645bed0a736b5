import { Argument, Command, Option } from 'commander';

import { bytesText, flopsText, secondsText } from '../../core/units.js';
import { fail } from '../../errors.js';
import { analysisText } from '../ntkText.js';
import { interruptible } from '../interrupt.js';
import { checkWritable, commandLine, integer, pattern, printJson, threadsOption } from '../flags.js';
import { Progress } from '../progress.js';
import { environmentOf } from '../version.js';

type What = 'gram' | 'decompose' | 'spectrum';

interface Options {
  readonly model: string;
  readonly data: string;
  readonly level: 'sequence' | 'token';
  readonly implementation?:
    | 'auto'
    | 'jacobian-contraction'
    | 'ntk-vector-products'
    | 'structured-derivatives';
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
    )
    .addOption(
      new Option('--level <level>', 'one function per sample, or per scored token')
        .choices(['sequence', 'token'])
        .default('sequence'),
    )
    .option('--parts', 'gram: also one kernel per parameter')
    .option('--params <regexp>', 'only parameters whose name matches', pattern)
    .addOption(
      new Option('--implementation <name>', 'gram, spectrum: how (default: auto)').choices([
        'auto',
        'structured-derivatives',
        'jacobian-contraction',
        'ntk-vector-products',
      ]),
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
      'write the kernel ([n, n]; with --parts or decompose [parts, n, n]) for numpy.load, and names and figures ' +
        'beside it as .json',
    )
    .option('--json', 'print everything as JSON')
    .action(async (what: What, options: Options) => {
      if (options.parts && what !== 'gram')
        fail('ERR_INVALID_ARG', `ntk ${what}: there are no --parts; use ntk gram --parts, or leave it out`);
      if (options.implementation && what === 'decompose')
        fail('ERR_INVALID_ARG', 'ntk decompose: there is no choice of --implementation; leave it out');
      if (options.out) await checkWritable('ntk', options.out);
      const [{ createContext }, { Model }, ntks, { spectrum }, { readSamples }, { writeNpy }, files] =
        await Promise.all([
          import('../../core/context.js'),
          import('../../model/model.js'),
          import('../../ntk/index.js'),
          import('../../analysis/spectrum.js'),
          import('../samples.js'),
          import('../../core/npy.js'),
          import('../../core/files.js'),
        ]);
      using context = await createContext({
        math: options.math,
        ...(options.threads ? { threads: options.threads } : {}),
      });
      using model = await Model.fromPretrained(options.model, { context });
      const samples = await readSamples(model, options.data);
      const shared = {
        level: options.level,
        ...(options.params ? { params: options.params } : {}),
        ...(options.maxBytes ? { maxBytes: options.maxBytes } : {}),
      };
      const gramOptions = {
        ...shared,
        implementation: options.implementation ?? 'auto',
        parts: what === 'gram' && options.parts === true,
      };
      const estimate = await ntks.estimate(model, samples, null, gramOptions);
      const forms = (form: string) => estimate.choices.filter((c) => c.form === form).length;
      process.stderr.write(
        `${estimate.shape[0]} functions of ${samples.length} samples · ${estimate.implementation}${estimate.choices.length ? ` (${forms('ghost')} matrices in ghost form, ${forms('blocked')} in blocked form)` : ''}\n` +
          `estimate · ${flopsText(estimate.flops)}, ${bytesText(estimate.bytes)} working memory in ` +
          `${estimate.blocks} block${estimate.blocks === 1 ? '' : 's'}, ${bytesText(estimate.resultBytes)} ` +
          `result, about ${secondsText(estimate.seconds)} at ${flopsText(estimate.flopsPerSecond)}/s\n`,
      );
      const progress = new Progress();
      const began = performance.now();
      const again = { again: commandLine(...process.argv.slice(2)) };
      const result = await interruptible(again, async (signal) => {
        const job = {
          signal,
          onProgress: (done: number, total: number) =>
            progress.update(what === 'spectrum' ? 'kernel' : what, done, total),
        };
        if (what === 'decompose') {
          const { shape, ...components } = await ntks.decompose(model, samples, null, { ...shared, ...job });
          return { shape, names: Object.keys(components), matrices: Object.values(components) };
        }
        const { kernel, shape, parts } = await ntks.gram(model, samples, null, { ...gramOptions, ...job });
        return {
          shape,
          names: ['total', ...(parts ?? []).map((p) => p.name)],
          matrices: [kernel, ...(parts ?? []).map((p) => p.kernel)],
        };
      }).finally(() => progress.end());
      const seconds = (performance.now() - began) / 1000;
      const n = result.shape[0]!;
      const trace = (k: Float64Array) =>
        Array.from({ length: n }, (_, i) => k[i * n + i]!).reduce((a, b) => a + b, 0);
      const spectra =
        what === 'spectrum'
          ? await interruptible(again, async (signal) => {
              progress.update('eigenvalues', 0, n);
              const found = await spectrum({ kernel: result.matrices[0]!, shape: result.shape }, { signal });
              progress.update('eigenvalues', n, n);
              return found;
            }).finally(() => progress.end())
          : undefined;
      const facts = {
        what,
        model: options.model,
        data: options.data,
        level: options.level,
        shape: result.shape,
        samples: samples.length,
        parts: result.names.map((name, i) => ({ name, trace: trace(result.matrices[i]!) })),
        ...(spectra
          ? {
              spectrum: {
                ...spectra,
                condition: Number.isFinite(spectra.condition) ? spectra.condition : null,
                eigenvalues: [...spectra.eigenvalues],
              },
            }
          : {}),
        estimate,
        seconds,
        environment: environmentOf(context),
      };
      if (options.out) {
        const stack = result.matrices.length > 1;
        const numbers = new Float64Array(n * n * result.matrices.length);
        result.matrices.forEach((k, i) => numbers.set(k, i * n * n));
        await writeNpy('ntk', options.out, numbers, stack ? [result.matrices.length, n, n] : [n, n]);
        const sidecar = options.out.replace(/\.npy$/, '') + '.json';
        await files.writeFileAtomically('ntk', sidecar, (file) =>
          files.writeAll(file, Buffer.from(`${JSON.stringify(facts, null, 2)}\n`)),
        );
        process.stderr.write(`written · ${options.out}, ${sidecar}\n`);
      }
      if (options.json) {
        const rows = (k: Float64Array) =>
          Array.from({ length: n }, (_, i) => [...k.subarray(i * n, (i + 1) * n)]);
        return printJson({
          ...facts,
          parts: facts.parts.map((part, i) => ({ ...part, kernel: rows(result.matrices[i]!) })),
        });
      }
      process.stdout.write(`${analysisText(facts)}\n`);
    });
