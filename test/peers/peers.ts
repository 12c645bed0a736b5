/** Running the Python scripts beside this file, and comparing what they computed. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

import type { Model } from '../../src/index.js';

export const python = process.env['HEADFIRST_PYTHON'] ?? 'python3';
const IMPORTS = 'import torch, transformers, peft';
export const hasPeers = spawnSync(python, ['-c', IMPORTS], { timeout: 120_000 }).status === 0;
export const peersReason = hasPeers
  ? ''
  : ` (skipped: ${python} lacks the packages of test/peers/requirements.txt; set HEADFIRST_PYTHON)`;

/** Runs a script; a traceback is a failure of the test. */
export function runPeer(script: string, ...argv: readonly string[]): void {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { stderr, status } = spawnSync(python, [path, ...argv], { encoding: 'utf8' });
  expect(status === 0 ? '' : stderr).toBe('');
}

/** Numbers that a script wrote by numpy's tofile(). */
export function doubles(path: string): Float64Array {
  const bytes = readFileSync(path);
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** The largest difference between a model's logits and right ones, over the range of those. */
export async function distance(model: Model, ids: readonly number[], right: Float64Array): Promise<number> {
  const { logits } = await model.forward({ inputIds: [ids] });
  const got = await logits![0]!.data();
  let [low, high, most] = [Infinity, -Infinity, 0];
  for (const [index, value] of right.entries()) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    most = Math.max(most, Math.abs(value - got[index]!));
  }
  return got.length === right.length ? most / (high - low) : Infinity;
}

/** Of what is compared: the tally, and what is different. */
export class Tally {
  equal = 0;
  readonly refused = new Map<string, number>();
  readonly different: string[] = [];

  refusal(error: unknown): void {
    const { code, message } = error as { code?: string; message: string };
    if (code === undefined) throw error;
    const key = message.replace(/^.*?(config\.json|adapter_config\.json): /, '').slice(0, 60);
    this.refused.set(key, (this.refused.get(key) ?? 0) + 1);
  }
  get refusals(): number {
    return [...this.refused.values()].reduce((sum, n) => sum + n, 0);
  }
  /** For docs/compatibility.md. */
  print(what: string, versions: unknown): void {
    console.log(
      `${what}, ${JSON.stringify(versions)}: equal ${this.equal} / refused ${this.refusals} / different ` +
        `${this.different.length}`,
    );
    if (process.env['HEADFIRST_PEER_REASONS']) console.log(Object.fromEntries(this.refused));
  }
}
