import { Command } from 'commander';

import type { Probe } from '../../core/addon/probe.js';
import { printJson } from '../flags.js';
import { version } from '../version.js';

export const info = (): Command =>
  new Command('info')
    .description('what this build can run on this machine')
    .option('--json', 'print as JSON')
    .action(run);

async function run({ json }: { json?: boolean }): Promise<void> {
  const { probeAddons } = await import('../../core/addon/probe.js');
  const probes = probeAddons();
  // A binary that ends the process that loads it must not end this one: nothing is loaded here unless a
  // binary survived the probe.
  if (!probes.some((probe) => probe.loads)) {
    const { loadError } = await import('../../core/addon/locate.js');
    throw loadError(probes.map(({ source, problem }) => `${source}: ${problem}`));
  }
  const facts = await collectFacts(probes);
  if (json) return printJson(facts);
  const { kernelRuns } = await import('../../core/addon/runs.js');
  const gpus = [...new Set(kernelRuns().map(({ gpu }) => gpu))];
  process.stdout.write(`${linesOf(facts, gpus).join('\n')}\n`);
}

/** GPUs on which the kernels have run. */
const hardwareText = (gpus: readonly string[]): string =>
  gpus.length > 0 ? `passed on ${gpus.join(', ')}` : 'not yet run on hardware';

type Facts = Awaited<ReturnType<typeof collectFacts>>;

async function collectFacts(tried: readonly Probe[]) {
  const [{ backends }, { addon, loadedPath }, { onHardware }] = await Promise.all([
    import('../../core/context.js'),
    import('../../core/addon/addon.js'),
    import('../../core/addon/runs.js'),
  ]);
  const { commandsForTheRest } = await import('../../core/addon/locate.js');
  return {
    version,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    addon: { path: loadedPath, tried },
    cpu: { ...addon.cpu, blas: addon.cpu.blas() },
    cuda: { ...addon.cuda, cublas: addon.cuda.cublas() },
    backends: backends(),
    rest: commandsForTheRest(),
    ops: addon.ops.map(({ op, name, backends: columns }) => ({
      name,
      backends: columns,
      ...(columns.includes('cuda') ? { onHardware: onHardware(op) } : {}),
    })),
  };
}

function linesOf(facts: Facts, gpus: readonly string[]): string[] {
  const { node, platform, addon, cpu, cuda, backends, ops } = facts;
  const line = (name: string, text: string) => `${name.padEnd(10)} ${text}`;
  const broken = addon.tried.filter(({ loads, path }) => !loads && path !== undefined);
  const bf16 = cpu.bf16Dot ? ', math bf16 by AVX512_BF16' : '';
  const lines = [
    `headfirst ${version} · Node.js ${node} · ${platform}`,
    line('addon', addon.path),
    ...broken.map(({ source, problem }) => line('broken', `${source}: ${problem}`)),
    line('kernels', `${cpu.best} in use (built: ${cpu.backends.join(', ')}), ${cpu.threads} threads${bf16}`),
    ...(cpu.backends.includes('base') ? [] : [line('', `for other processors, too: ${facts.rest.cpu}`)]),
    line('blas', String(cpu.blas)),
    ...backends.map(({ name, available, reason }) =>
      line(name, `${available ? 'available' : 'not available'}: ${reason}`),
    ),
  ];
  const kernels = `kernels for ${cuda.architectures}; ${hardwareText(gpus)}`;
  if (cuda.built) lines.push(line('cuda', kernels));
  else lines.push(line('', `to get CUDA kernels: ${facts.rest.cuda}`));
  if (cuda.devices.length > 0) lines.push(line('cublas', String(cuda.cublas)));
  lines.push(line('ops', `${ops.length}: ${ops.map(({ name }) => name).join(', ')}`));
  return lines;
}
