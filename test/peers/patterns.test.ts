/**
 * Python's regular expressions drawn at random, against re.fullmatch() of a Python 3.11 or later;
 * HEADFIRST_PYTHON names it, HEADFIRST_PEER_PATTERNS how many (default 20,000). The counts are printed, for
 * docs/compatibility.md.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { pythonFullMatch } from '../../src/model/adapters/pythonPattern.js';
import { readJson, temporaryDirectory } from '../helpers/files.js';
import { python, runPeer } from './peers.js';

const NEEDED = 'import sys; assert sys.version_info >= (3, 11)';
const hasPython = spawnSync(python, ['-c', NEEDED]).status === 0;
const reason = hasPython ? '' : ` (skipped: ${python} is no Python 3.11; set HEADFIRST_PYTHON)`;

interface Case {
  readonly pattern: string;
  readonly matches: readonly number[] | null;
}

describe.skipIf(!hasPython)(`patterns against Python's re${reason}`, () => {
  it('match the same names, or are refused', { timeout: 600_000 }, () => {
    const out = temporaryDirectory();
    runPeer('patterns.py', out, '--count', process.env['HEADFIRST_PEER_PATTERNS'] ?? '20000');
    const { names, cases } = readJson(join(out, 'patterns.json'));
    const counts = { equal: 0, refused: 0, lenient: 0 };
    const different: string[] = [];
    for (const { pattern, matches } of cases as Case[]) {
      let got: number[];
      try {
        const match = pythonFullMatch('targetModules', pattern);
        got = (names as string[]).map((name) => Number(match(name)));
      } catch (error) {
        expect((error as { code?: string }).code, pattern).toBe('ERR_INVALID_ARG');
        if (matches !== null) ++counts.refused;
        continue;
      }
      if (matches === null) ++counts.lenient;
      else if (got.join() === matches.join()) ++counts.equal;
      else different.push(`${JSON.stringify(pattern)}: ${got.join('')} for ${matches.join('')}`);
    }
    console.log(`patterns: ${cases.length}: ${JSON.stringify(counts)}, different ${different.length}`);
    expect(different.slice(0, 20)).toEqual([]);
  });
});
