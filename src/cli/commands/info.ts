import { Command } from 'commander';

import { printJson } from '../flags.js';
import { version } from '../version.js';

export const info = (): Command =>
  new Command('info')
    .description('what this build can run on this machine')
    .option('--json', 'print as JSON')
    .action(async (options: { json?: boolean }) => {
      const { probeAddons } = await import('../../core/addon/probe.js');
      const probes = probeAddons();
      // A binary that ends the process that loads it must not end this one: without one that survived the
      // probe nothing is loaded here.
      const { loadError } = await import('../../core/addon/locate.js');
      if (!probes.some((probe) => probe.loads))
        throw loadError(probes.map(({ source, problem }) => `${source}: ${problem}`));
      const [{ backends }, { addon, loadedPath }] = await Promise.all([
        import('../../core/context.js'),
        import('../../core/addon/addon.js'),
      ]);
      const { kernelRuns, onHardware } = await import('../../core/addon/runs.js');
      const runs = kernelRuns();
      const blas = addon.cpu.blas(),
        cublas = addon.cuda.cublas();
      const ops = addon.ops.map(({ op, name, backends: columns }) => ({
        name,
        backends: columns,
        ...(columns.includes('cuda') ? { onHardware: onHardware(op) } : {}),
      }));
      const facts = {
        version,
        node: process.versions.node,
        platform: `${process.platform}-${process.arch}`,
        addon: { path: loadedPath, tried: probes },
        cpu: { ...addon.cpu, blas },
        cuda: { ...addon.cuda, cublas },
        backends: backends(),
        ops,
      };
      if (options.json) return printJson(facts);
      const lines = [
        `headfirst ${version} · Node.js ${facts.node} · ${facts.platform}`,
        `addon      ${loadedPath}`,
        ...probes
          .filter((probe) => !probe.loads && probe.path !== undefined)
          .map((probe) => `broken     ${probe.source}: ${probe.problem}`),
        `kernels    ${addon.cpu.best} in use (built: ${addon.cpu.backends.join(', ')}), ${addon.cpu.threads} ` +
          `threads${addon.cpu.bf16Dot ? ', math bf16 by AVX512_BF16' : ''}`,
        `blas       ${blas}`,
        ...facts.backends.map(
          (b) => `${b.name.padEnd(10)} ${b.available ? 'available' : 'not available'}: ${b.reason}`,
        ),
        ...(addon.cuda.built
          ? [
              `cuda       kernels for ${addon.cuda.architectures}; ` +
                `${runs.length > 0 ? `passed on ${[...new Set(runs.map((run) => run.gpu))].join(', ')}` : 'not yet run on hardware'}`,
            ]
          : []),
        ...(addon.cuda.devices.length > 0 ? [`cublas     ${cublas}`] : []),
        `ops        ${ops.length}: ${ops.map((op) => op.name).join(', ')}`,
      ];
      process.stdout.write(`${lines.join('\n')}\n`);
    });
