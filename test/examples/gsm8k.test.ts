/**
 * examples/gsm8k.mjs: a random 14M-parameter GPT-NeoX model, Pythia's tokenizer, GSM8K: real steps on the CPU
 * within the memory that is stated.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

import { Model } from '../../src/index.js';
import { needsSharedData, sharedData, temporaryDirectory, withoutSharedData } from '../helpers/files.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Of the whole process, Node.js and the data set included; docs/training.md states it. */
const MEMORY_GB = 0.75;

describe(`GRPO on GSM8K${needsSharedData}`, () => {
  it.skipIf(withoutSharedData)(
    'takes steps that move the weights, and saves what it trained',
    async () => {
      const out = join(temporaryDirectory(), 'gsm8k');
      const { stderr } = await promisify(execFile)(
        process.execPath,
        [
          'examples/gsm8k.mjs',
          '--tokenizer',
          sharedData('tokenizers/pythia-20B/tokenizer.json'),
          '--data',
          sharedData('gsm8k/train.jsonl'),
          '--out',
          out,
          '--steps',
          '2',
          '--prompts',
          '2',
          '--length',
          '16',
        ],
        { cwd: root },
      );
      expect(stderr).toContain('14.1 M parameters');
      expect(Number(/Peak memory of the process: (\S+) GB/.exec(stderr)![1])).toBeLessThan(MEMORY_GB);
      const rows = readFileSync(join(out, 'training', 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(rows).toHaveLength(2);
      for (const row of rows) {
        expect(row['grad_norm']).toBeGreaterThan(0.01);
        expect(row['rewards/plain_text/mean']).toBeGreaterThan(0);
        expect(row['rewards/math/mean']).not.toBeNull(); // every gold answer was read
        // Nearly uniform over 50,304 tokens.
        expect(row['entropy']).toBeGreaterThan(9);
        expect(row['sampling/sampling_logp_difference/max']).toBeLessThan(1e-4);
      }
      const completion = JSON.parse(
        readFileSync(join(out, 'training', 'completions.jsonl'), 'utf8').split('\n')[0]!,
      );
      expect(completion.prompt).toMatch(/^Question: [\s\S]+\nAnswer:$/);
      expect(typeof completion.completion).toBe('string');

      const [before, after] = await Promise.all([
        Model.fromPretrained(join(out, 'start')),
        Model.fromPretrained(join(out, 'model')),
      ]);
      for (const name of [
        'embed_out.weight',
        'gpt_neox.layers.0.attention.query_key_value.weight',
        'gpt_neox.layers.5.mlp.dense_4h_to_h.weight',
      ]) {
        const [a, b] = [await before.getParameter(name), await after.getParameter(name)];
        let moved = 0;
        for (let i = 0; i < a.length; ++i) if (a[i] !== b[i]) ++moved;
        expect(moved / a.length, name).toBeGreaterThan(0.5);
      }
      expect(existsSync(join(out, 'model', 'tokenizer.json'))).toBe(true);
    },
    120_000,
  );
});
