/**
 * `headfirst bench [op…]`: how fast each op and the whole jobs run, and how far that is from what this
 * machine allows, measured in the same run. Results go to stdout and, with --save, dated to bench/results.
 */
import { Command } from 'commander';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { commandLine, integer, printJson, real, usageErrors } from '../src/cli/flags.js';
import type { CodedError } from '../src/errors.js';
import { addon } from '../src/core/addon/addon.js';
import type { BackendName } from '../src/core/addon/contract.js';
import { compare, readResults } from './compare.js';
import { benchOps, opNames } from './ops.js';
import { bound, type Line, type Machine, type PeerLine, type Rates, type Settings, time } from './types.js';
import { benchWorkloads, workloads } from './workloads.js';

/** The repository: this file runs as build/bench/bench/main.js. */
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

interface Options {
  readonly threads: number;
  readonly backend: BackendName;
  readonly seconds: number;
  readonly samples: number;
  readonly rounds: number;
  readonly peer?: string;
  readonly json?: boolean;
  readonly compare?: string;
  /** true: to a dated file. */
  readonly save?: string | true;
}

interface Results {
  readonly date: string;
  readonly command: string;
  readonly commit: string;
  readonly machine: Machine;
  /** Measured before the first and after the last line; the larger counts. */
  readonly rates: Rates;
  readonly lines: readonly Line[];
}

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return '';
  }
}

function governor(): string {
  try {
    return readFileSync('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', 'utf8').trim();
  } catch {
    return 'unknown';
  }
}

const FOOTPRINTS = [256e3, 2e6, 8e6, 32e6, 256e6];

/** The best of what was seen: other processes only ever make a machine look slower. */
function measureRates(backend: BackendName, threads: number, before?: Rates): Rates {
  const measured = FOOTPRINTS.map((footprint) => ({
    footprint,
    ...addon.measureRates({ backend, threads, footprint, seconds: 0.3 }),
  }));
  const { flops = 0, bf16Flops = 0, reads = [] } = before ?? {};
  return {
    flops: Math.max(flops, ...measured.map((m) => m.flops)),
    bf16Flops: Math.max(bf16Flops, ...measured.map((m) => m.bf16Flops)),
    reads: measured.map(({ footprint, bytes }, i) => ({
      footprint,
      bytes: Math.max(bytes, reads[i]?.bytes ?? 0),
    })),
  };
}

function size(bytes: number): string {
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return bytes >= 1e3 ? `${(bytes / 1e3).toFixed(0)} kB` : `${bytes} B`;
}

const COLUMNS = [44, 11, 7, 9, 8, 10, 14] as const;
const row = (...cells: string[]) =>
  cells.map((cell, i) => (i === 0 ? cell.padEnd(COLUMNS[0]) : cell.padStart(COLUMNS[i] ?? 0))).join(' ');
const HEADER = row('', 'median', '± IQR', 'GFLOP/s', 'GB/s', 'workspace', 'of roofline');

function text(line: Line): string {
  const label = `${line.name} · ${line.shape}`;
  const tooLong = label.length > COLUMNS[0];
  const figures = row(
    tooLong ? '' : label,
    time(line.median),
    `${(line.spread * 100).toFixed(0)} %`,
    (line.flops / line.median / 1e9).toFixed(1),
    line.bytes > 0 ? (line.bytes / line.median / 1e9).toFixed(1) : '—',
    size(line.workspaceBytes),
    `${(line.roofline * 100).toFixed(0)} % ${line.bound}`,
  );
  const peers = (line.peers ?? []).map((peer) => peerText(line, peer));
  return [...(tooLong ? [label] : []), figures, ...peers].join('\n');
}

function peerText(line: Line, { name, median, ratio, cpuRatio, extraBytes }: PeerLine): string {
  const memory = extraBytes ? `, ${size(extraBytes)} extra memory` : '';
  return (
    `    ${name}: median ${time(median)} against ${time(line.median)}: ×${ratio.toFixed(2)} ` +
    `(processor time ×${cpuRatio.toFixed(2)})${memory}`
  );
}

/** The first line of the output: what runs, and what the machine allows. */
function introduction({ backend, threads }: Options, rates: Rates, load: number): string {
  const gigaflops = (flops: number) => (flops / 1e9).toFixed(1);
  const blas = usedBlas();
  const bf16 = rates.bf16Flops ? ` (bfloat16 dot products ${gigaflops(rates.bf16Flops)})` : '';
  const reads = rates.reads.map((r) => `${(r.bytes / 1e9).toFixed(0)} GB/s of ${size(r.footprint)}`);
  const kernels = `${backend}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  return [
    `headfirst ${version}`,
    kernels,
    ...(blas ? [`BLAS: ${blas}`] : []),
    cpus()[0]?.model ?? 'unknown processor',
    `peak ${gigaflops(rates.flops)} GFLOP/s${bf16}, reads ${reads.join(', ')}`,
    `load ${load.toFixed(1)} of ${cpus().length}`,
  ].join(' · ');
}

const usedBlas = (): string | undefined => (process.env['HEADFIRST_BLAS'] ? addon.cpu.blas() : undefined);

/** @throws for a name that is no benchmark, and for a peer that is not known. */
function checkArguments(names: readonly string[], { peer }: Options): void {
  const jobs = [...new Set(workloads.map((workload) => workload.name))];
  const known = [...opNames(), ...jobs, 'ops', 'model'];
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`there is no benchmark '${unknown}'; choose from: ${known.join(', ')}`);
  if (peer !== undefined && peer !== 'torch') throw new Error(`--peer must be torch, got '${peer}'`);
}

async function bench(names: readonly string[], options: Options): Promise<void> {
  checkArguments(names, options);
  const old = options.compare === undefined ? undefined : readResults(options.compare);
  const say = (line: string) => {
    const stream = options.json ? process.stderr : process.stdout;
    stream.write(`${line}\n`);
  };
  const { backend, threads } = options;
  const loadBefore = loadavg()[0]!;
  const rates = measureRates(backend, threads);
  say(introduction(options, rates, loadBefore));
  say(HEADER);
  const lines: Line[] = [];
  const settings: Settings = {
    backend,
    threads,
    rates,
    peer: options.peer === 'torch',
    rounds: options.rounds,
    limits: { seconds: options.seconds, minSamples: options.samples },
    peak(math) {
      const { flops, bf16Flops } = addon.measureRates({ backend, threads, footprint: 4096, seconds: 0.02 });
      return math === 'bf16' ? bf16Flops : flops;
    },
    report(line) {
      lines.push(line);
      say(text(line));
    },
  };
  const all = names.length === 0;
  await benchOps((op) => all || names.includes(op) || names.includes('ops'), settings);
  await benchWorkloads((name) => all || names.includes(name) || names.includes('model'), settings);

  // A slow moment at the start must not flatter what followed. The peak was measured beside each line.
  const best = measureRates(backend, threads, rates);
  const results = resultsOf(options, lines, best, [loadBefore, loadavg()[0]!]);
  if (old) for (const line of compare(old, results.lines, results.machine, all)) say(line);
  if (options.save) say(`saved ${save(results, options.save)}`);
  if (options.json) printJson(results);
}

function resultsOf(
  { backend, threads }: Options,
  lines: readonly Line[],
  rates: Rates,
  load: readonly number[],
): Results {
  const blas = usedBlas();
  const changes = git('status', '--porcelain') ? ' with changes' : '';
  return {
    date: new Date().toISOString(),
    command: commandLine('bench', ...process.argv.slice(2)),
    commit: `${git('rev-parse', '--short', 'HEAD')}${changes}`,
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      processors: cpus().length,
      memoryBytes: totalmem(),
      kernels: backend,
      ...(blas ? { blas } : {}),
      threads,
      governor: governor(),
      node: process.versions.node,
      load,
    },
    rates,
    lines: lines.map((line) => ({
      ...line,
      roofline: bound(line.peak, rates, line.flops, line.bytes, line.held).seconds / line.median,
    })),
  };
}

/** Writes the results where asked, or to a dated file; returns the path. */
function save(results: Results, where: string | true): string {
  const folder = join(ROOT, 'bench/results');
  const dated = `${results.date.slice(0, 16).replace(/:/g, '')}.json`;
  const path = where === true ? join(folder, dated) : where;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path, `${JSON.stringify(results, null, 1)}\n`);
  return path;
}

const program = new Command('headfirst bench')
  .description('time ops and whole jobs against the measured limit of this machine')
  .argument(
    '[names...]',
    "ops (see 'headfirst info'), jobs ('training step', sampling, gram, policyGradient), 'ops' or 'model'; " +
      'default everything',
  )
  .option('--threads <n>', 'threads', integer(1), 1)
  .option('--backend <name>', 'base, avx2 or avx512', addon.cpu.best)
  .option('--seconds <s>', 'time per line', real(0), 1)
  .option('--samples <n>', 'samples per line at least', integer(1), 5)
  .option('--peer <name>', 'torch: run the jobs through PyTorch as well, taking turns')
  .option('--rounds <n>', 'turns with --peer', integer(1), 3)
  .option('--compare <file>', 'earlier results; names what became faster or slower, is new or missing')
  .option('--save [file]', 'write the results (default bench/results/<date>.json)')
  .option('--json', 'print as JSON')
  .configureOutput(usageErrors)
  .showSuggestionAfterError()
  .action(bench);

await program.parseAsync().catch((error: Error) => {
  const { code } = error as Partial<CodedError>;
  process.stderr.write(`headfirst: ${error.message}${code ? ` [${code}]` : ''}\n`);
  process.exitCode = 1;
});
