/** The peer's lines: bench/peers/gpu.py run on the same rows, or what it printed before. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { root } from '../../src/core/addon/locate.js';
import { isWanted, options } from './options.js';

/** One form of one row, as bench/peers/gpu.py prints it. */
export interface PeerLine {
  readonly row: string;
  readonly form: string;
  readonly milliseconds?: number;
  readonly spread?: number;
  readonly samples?: number;
  readonly extraBytes?: number | null;
  /** Of its answer from that of the row's first form, relative in norm. */
  readonly difference?: number | null;
  readonly note?: string;
  readonly on: string;
  readonly error?: string;
  /** Its median over ours: above 1, ours is faster. None where we have no such row. */
  readonly ratio?: number;
}

/** Rows that bench/peers/gpu.py has too. */
const PEER_ROWS = ['policyGradient', 'gram', 'train', 'sample'];

// Whatever goes wrong with the peer, our own rows are still reported, and what it printed before.
function failed(message: string): void {
  process.stderr.write(`headfirst: bench:gpu: ${message}\n`);
  process.exitCode = 1;
}

function runPeer(): string {
  const names = ['ceilings', ...PEER_ROWS.filter(isWanted)];
  const python = spawnSync(
    process.env['HEADFIRST_PYTHON'] ?? 'python3',
    [join(root, 'bench/peers/gpu.py'), ...names],
    { encoding: 'utf8', maxBuffer: 1 << 24, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (python.status !== 0) {
    const why = python.error?.message ?? `exit code ${python.status ?? python.signal}`;
    failed(`bench/peers/gpu.py: ${why}`);
  }
  return python.stdout ?? '';
}

function readPeer(file: string): string {
  if (existsSync(file)) return readFileSync(file, 'utf8');
  failed(`--peer-results: there is no file ${file}`);
  return '';
}

export function peerLines(): PeerLine[] {
  const file = options.peerResults;
  if (file === undefined && options.peer === undefined) return [];
  return (file === undefined ? runPeer() : readPeer(file))
    .split('\n')
    .filter((line) => /^\{.*\}$/.test(line))
    .map((line) => JSON.parse(line) as PeerLine);
}
