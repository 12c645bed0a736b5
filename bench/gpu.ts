/**
 * `npm run bench:gpu [rows…]`: the hardware table. Ceilings are measured in the same run. Every line is
 * printed, and the results file (in bench/results or $OUT) rewritten, the moment it is measured; a line that
 * fails is reported, and the next one goes on. `--peer torch` then runs bench/peers/gpu.py on the same rows;
 * `--peer-results FILE` reads the lines that it printed before. `--profile` runs every line a few times,
 * without ceilings or results: for HEADFIRST_PROFILE=1 and outside profilers.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { addon } from '../src/core/addon/addon.js';
import { root } from '../src/core/addon/locate.js';
import { gramLine, sampleLine, trainLine } from './gpu/jobs.js';
import { ceilings, type Line, median } from './gpu/measure.js';
import { memoryLines } from './gpu/memory.js';
import { isWanted, options } from './gpu/options.js';
import { type PeerLine, peerLines } from './gpu/peers.js';
import { ceilingLines, gemmLines, policyGradientLine, tokenGramLine } from './gpu/products.js';

/** Each row of the table, of one line or several that belong together. */
const rows: Record<string, readonly Line[]> = {
  memory: memoryLines,
  gemms: gemmLines,
  policyGradient: [policyGradientLine(8192, true)],
  policyGradientForward: [policyGradientLine(16384, false)],
  tokenGram: [tokenGramLine],
  gram: [gramLine],
  train: [trainLine],
  sample: [sampleLine],
};

/** A line that was measured. */
interface Result {
  readonly name: string;
  readonly milliseconds: number;
  /** Interquartile range over median. */
  readonly spread: number;
  readonly samples: number;
  readonly note: string;
  readonly peer?: string;
}

function leave(code: number, message: string): never {
  process.stderr.write(`headfirst: bench:gpu: ${message}\n`);
  process.exit(code);
}
const device = addon.cuda.devices.find((d) => d.problem === undefined);
if (!device) leave(1, addon.cuda.reason);
if (options.peer !== undefined && options.peer !== 'torch')
  leave(2, `--peer must be torch, got '${options.peer}'`);
const unknown = options.rows.find((name) => !(name in rows));
if (unknown) leave(2, `there is no row '${unknown}'; choose from ${Object.keys(rows).join(', ')}`);

function git(...args: string[]): string {
  try {
    const stdio = ['ignore', 'pipe', 'ignore'] as const;
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: [...stdio] }).trim();
  } catch {
    return '';
  }
}
function commit(): string {
  const changes = git('status', '--porcelain') ? ' with changes' : '';
  return process.env['HEADFIRST_COMMIT'] ?? `${git('rev-parse', '--short', 'HEAD')}${changes}`;
}

const folder = process.env['OUT'] ?? join(root, 'bench/results');
const date = new Date().toISOString();
const about = {
  date,
  command: ['npm run bench:gpu --', ...process.argv.slice(2)].join(' '),
  commit: commit(),
  device,
  driver: addon.cuda.reason,
};
const label = options.rows.length === 0 ? 'gpu' : `gpu-${options.rows.join('-')}`;
const results: Result[] = [];
const errors: { name: string; error: string }[] = [];
let peers: PeerLine[] = [];

function save(): void {
  if (options.profile) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${date.slice(0, 16).replace(/:/g, '')}-${label}.json`),
    `${JSON.stringify({ ...about, ceilings, results, errors, peers }, null, 1)}\n`,
  );
}

const elapsed = () => `${(performance.now() / 1e3).toFixed(1).padStart(6)} s`;
function print(
  name: string,
  r: { milliseconds?: number; spread?: number; samples?: number; note?: string },
  more = '',
): void {
  const time = `${r.milliseconds!.toFixed(3).padStart(10)} ms ± ${(r.spread! * 100).toFixed(0)} %`;
  process.stdout.write(`${name.padEnd(64)} ${time} of ${r.samples}  ${r.note}${more}\n`);
}

async function measure(line: Line): Promise<Result> {
  const { seconds, note } = await line.measure();
  const sorted = [...seconds].sort((a, b) => a - b);
  const quartile = (share: number) => sorted[Math.floor(share * sorted.length)]!;
  const middle = median(seconds);
  return {
    name: line.name,
    milliseconds: middle * 1e3,
    spread: (quartile(0.75) - quartile(0.25)) / middle,
    samples: seconds.length,
    note,
    ...(line.peer === undefined ? {} : { peer: line.peer }),
  };
}

const wantedLines = Object.entries(rows).flatMap(([name, lines]) => (isWanted(name) ? lines : []));
for (const line of [...(options.profile ? [] : ceilingLines), ...wantedLines]) {
  try {
    const result = await measure(line);
    results.push(result);
    print(`${elapsed()}  ${result.name}`, result);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    errors.push({ name: line.name, error: message });
    process.stdout.write(`${elapsed()}  ${line.name}: ${message}\n`);
    process.exitCode = 1;
  }
  save();
}

function besideOurs(line: PeerLine): PeerLine {
  const ours = results.find((result) => result.peer === line.row);
  if (line.milliseconds === undefined || !ours) return line;
  return { ...line, ratio: line.milliseconds / ours.milliseconds };
}
function printPeer(line: PeerLine): void {
  const name = `  torch ${line.row}, ${line.form}`;
  if (line.error !== undefined) {
    process.stdout.write(`${name}: ${line.error}\n`);
    return;
  }
  const extra = line.extraBytes ? `; ${(line.extraBytes / 1e6).toFixed(0)} MB extra` : '';
  const ratio = line.ratio ? `; ours is ×${line.ratio.toFixed(2)} as fast` : '';
  print(name, line, `${extra}${ratio}`);
}
peers = peerLines().map(besideOurs);
for (const line of peers) printPeer(line);
if (peers.length > 0) save();
