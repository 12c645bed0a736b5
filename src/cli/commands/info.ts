import { Command } from 'commander';

import { printJson } from '../options.js';
import { version } from '../version.js';

export const info = (): Command => new Command('info')
  .description('what this build can run on this machine')
  .option('--json', 'print as JSON')
  .action(async (options: { json?: boolean }) => {
    const [{ backends }, { addon }] = await Promise.all([import('../../core/context.js'), import('../../native/addon.js')]);
    const ops = addon.ops.map(({ name, backends: columns }) => ({ name, backends: columns }));
    const facts = { version, node: process.versions.node, platform: `${process.platform}-${process.arch}`, cpu: addon.cpu, backends: backends(), ops };
    if (options.json) return printJson(facts);
    const lines = [
      `headfirst ${version} · Node.js ${facts.node} · ${facts.platform}`,
      `kernels    ${addon.cpu.best} in use (built: ${addon.cpu.backends.join(', ')}), ${addon.cpu.threads} threads`,
      ...facts.backends.map((b) => `${b.name.padEnd(10)} ${b.available ? 'available' : 'not available'}: ${b.reason}`),
      `ops        ${ops.length}: ${ops.map((op) => op.name).join(', ')}`,
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  });
