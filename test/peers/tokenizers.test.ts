/**
 * Tokenizers of every kind against transformers, live: HEADFIRST_PYTHON names a Python with the packages of
 * test/peers/requirements.txt. HEADFIRST_PEER_TEXTS texts and as many lists of ids for each tokenizer
 * (default 100); HEADFIRST_PEER_DIRECTORIES adds directories. The counts are printed, for
 * docs/compatibility.md.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { readJson, temporaryDirectory } from '../helpers/files.js';
import { compareWithPython, type TokenizerCases, tokenizerOfFiles } from '../helpers/tokenizerCases.js';

const script = fileURLToPath(new URL('tokenizers_run.py', import.meta.url));
const python = process.env['HEADFIRST_PYTHON'] ?? 'python3';
const IMPORTS = 'import transformers, tokenizers, sentencepiece, trl, datasets, torch';
const hasPackages = spawnSync(python, ['-c', IMPORTS], { timeout: 60_000 }).status === 0;
const reason = hasPackages
  ? ''
  : ` (skipped: ${python} lacks the packages of test/peers/requirements.txt; set HEADFIRST_PYTHON)`;

function filesOf(directory: string): Record<string, Record<string, any>> {
  const names = readdirSync(directory).filter((name) => name.endsWith('.json'));
  return Object.fromEntries(names.map((name) => [name, readJson(join(directory, name))]));
}

describe.skipIf(!hasPackages)(`against transformers${reason}`, () => {
  it('equal, or refused, and none different', { timeout: 1_800_000 }, () => {
    const out = temporaryDirectory();
    const texts = process.env['HEADFIRST_PEER_TEXTS'] ?? '100';
    const given = (process.env['HEADFIRST_PEER_DIRECTORIES'] ?? '').split(':').filter(existsSync);
    const more = given.flatMap((directory) => ['--directory', directory]);
    const run = spawnSync(python, [script, out, '--texts', texts, '--seed', '11', ...more], {
      encoding: 'utf8',
    });
    expect(run.stderr.includes('Traceback') ? run.stderr : '').toBe('');
    const { versions, files } = readJson(join(out, 'index.json'));
    const total = { equal: 0, refused: 0, different: 0 };
    const differences: string[] = [];
    for (const [directory, file] of Object.entries(files as Record<string, string>)) {
      const expected = readJson(file) as TokenizerCases;
      const tokenizer = tokenizerOfFiles(directory, filesOf(directory));
      const { equal, refused, different } = compareWithPython(tokenizer, expected);
      total.equal += equal;
      total.refused += refused;
      total.different += different.length;
      differences.push(...different.map((each) => `${basename(directory)}: ${each}`));
    }
    const kinds = Object.keys(files).length;
    console.log(
      `tokenizers: ${kinds} kinds × ${texts}, ${JSON.stringify(versions)}: ${JSON.stringify(total)}`,
    );
    expect(differences.slice(0, 20)).toEqual([]);
  });
});
