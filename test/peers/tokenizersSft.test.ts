/**
 * Rows of supervised training against TRL's SFTTrainer, live: the same tokens, the same mask, the same loss.
 * HEADFIRST_PYTHON names a Python with the packages of test/peers/requirements.txt.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { Model } from '../../src/index.js';
import { SFTTrainer } from '../../src/rl/index.js';
import { resolveConfig } from '../../src/rl/config/config.js';
import { encodeRow } from '../../src/rl/trainers/sftRows.js';
import {
  needsSharedData,
  readJson,
  sharedData,
  temporaryDirectory,
  withoutSharedData,
} from '../helpers/files.js';

const script = fileURLToPath(new URL('tokenizers_sft.py', import.meta.url));
const python = process.env['HEADFIRST_PYTHON'] ?? 'python3';
const hasPackages =
  spawnSync(python, ['-c', 'import trl, datasets, torch'], { timeout: 60_000 }).status === 0;
const needsPackages = hasPackages
  ? ''
  : ` (skipped: ${python} lacks the packages of test/peers/requirements.txt; set HEADFIRST_PYTHON)`;

const ROWS = 300;
const CONTEXT = 512;

describe.skipIf(withoutSharedData || !hasPackages)(`TRL${needsSharedData}${needsPackages}`, () => {
  it(`${ROWS} rows of GSM8K: tokens, mask and loss`, { timeout: 300_000 }, async () => {
    const lines = readFileSync(sharedData('gsm8k/train.jsonl'), 'utf8').split('\n').slice(0, ROWS);
    const problems = lines.map((line) => JSON.parse(line) as { question: string; answer: string });
    const rows = problems.map(({ question, answer }) => ({ prompt: `${question}\n`, completion: answer }));
    const directory = temporaryDirectory();
    const [input, output] = [join(directory, 'rows.json'), join(directory, 'out.json')];
    writeFileSync(input, JSON.stringify(rows));
    const run = spawnSync(python, [script, sharedData('stories260K'), input, output], { encoding: 'utf8' });
    expect(run.status, run.stderr.slice(-2000)).toBe(0);
    const theirs = readJson(output) as {
      rows: { input_ids: number[]; labels: number[] }[];
      loss: number;
    };
    using model = await Model.fromPretrained(sharedData('stories260K'));
    const config = resolveConfig('SFTConfig', { maxLength: CONTEXT });
    const ours = rows.map((row, index) =>
      encodeRow(row, index, { model, config, tokenizer: () => model.tokenizer }),
    );
    expect(ours.map(({ inputIds }) => inputIds)).toEqual(theirs.rows.map(({ input_ids }) => input_ids));
    const firstLabels = theirs.rows.map(({ labels }) => labels.findIndex((label) => label !== -100));
    expect(ours.map(({ scoreFrom }) => scoreFrom)).toEqual(firstLabels);
    const trainer = new SFTTrainer({
      model,
      trainDataset: rows,
      evalDataset: rows,
      config: { maxLength: CONTEXT },
    });
    const { eval_loss: loss } = await trainer.evaluate();
    console.log(`SFT loss of ${ROWS} rows: ${loss}, TRL's ${theirs.loss}`);
    expect(Math.abs(loss! / theirs.loss - 1)).toBeLessThan(2e-6);
  });
});
