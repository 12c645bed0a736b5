/** Python's regular expressions. The right values are Python 3.12's re.fullmatch(); test/peers draws more. */
import { describe, expect, it } from 'vitest';

import { pythonFullMatch, pythonMatch } from '../../../src/model/adapters/pythonPattern.js';

const q = 'model.layers.0.self_attn.q_proj';
const down = 'model.layers.11.mlp.down_proj';

describe('pythonFullMatch', () => {
  it.each<[string, string, boolean]>([
    ['.*\\.(?P<p>q|v)_proj', q, true],
    ['.*\\.(?P<p>q|v)_proj', down, false],
    ['(?i).*\\.(Q|V)_PROJ', q, true],
    ['.*\\.(Q|V)_PROJ', q, false],
    ['.*(?i:Q_)proj', q, true],
    ['.*(?i:Q_)PROJ', q, false],
    ['(?i).*[M-R]_proj', q, true],
    ['(?i)[^M].*', q, false],
    ['q_proj', q, false],
    ['.*q_proj$', q, true],
    ['.*q_proj\\Z', q, true],
    ['\\Amodel.*', q, true],
    ['a$', 'a\n', false],
    ['a$\\n', 'a\n', true],
    ['a.', 'a\n', false],
    ['(?s)a.', 'a\n', true],
    ['(?x) .* q _proj # queries', q, true],
    ['.*layers\\.\\d{,1}\\..*', q, true],
    ['.*layers\\.\\d{,1}\\..*', down, false],
    ['.*layers\\.\\d++\\..*', down, true],
    ['.*+q_proj', q, false],
    ['(?>.*)q_proj', q, false],
    ['.*(?<=\\.)q_proj', q, true],
    ['.*(?<!_)proj', q, false],
    ['.*\\bq_proj', q, true],
    ['.*\\battn.*', q, false],
    ['[]a]+', 'a]', true],
    ['a{}', 'a{}', true],
    ['\\x61\\142', 'ab', true],
    ['é*a', 'a', true],
    ['(?#comment)a', 'a', true],
  ])('%j on %j: %s', (pattern, text, matches) => {
    expect(pythonFullMatch('targetModules', pattern)(text)).toBe(matches);
  });

  it.each([
    ['(q)\\1', 'a reference back by number'],
    ['(?P<x>q)(?P=x)', 'the reference back (?P=…)'],
    ['(q)?(?(1)a|b)', 'the condition (?(…)…)'],
    ['(?<=a|b)c', "'|' in a lookbehind"],
    ['(?<=a{2})c', 'a repetition in a lookbehind'],
    ['(?=a)*b', 'a repeated assertion'],
    ['(?i)é', 'beyond ASCII'],
    ['\\N{DASH}', 'by name'],
    ['a**', 'multiple repeat'],
    ['*a', 'nothing to repeat'],
    ['(a', 'missing )'],
    ['a)', 'unbalanced parenthesis'],
    ['[a', 'unterminated character set'],
    ['[b-a]', 'bad character range'],
    ['a{3,1}', 'min repeat greater than max repeat'],
    ['\\q', 'bad escape'],
    ['a(?i)', 'unknown extension'],
    ['(?L)a', "unknown flag 'L'"],
    ['(?P<n>a)(?P<n>b)', "redefinition of group name 'n'"],
    ['a\\', 'unexpected end'],
  ])('%j is refused, naming the construct', (pattern, construct) => {
    expect(() => pythonFullMatch('f: targetModules', pattern)).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARG',
        message: expect.stringMatching(/^f: targetModules .* at character \d+/),
      }),
    );
    expect(() => pythonFullMatch('f: targetModules', pattern)).toThrow(construct);
  });
});

it('pythonMatch gives the named groups of a beginning', () => {
  const match = pythonMatch('layersPattern', '.*?\\.(?P<idx>\\d+)\\.');
  expect(match(`${down}.3.x`)?.['idx']).toBe('11');
  expect(match('lm_head')).toBeUndefined();
});
