/** Chat templates render what Python renders: recorded renderings, and what must be refused. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { compileTemplate, type TemplateProblem } from '../../../src/model/chat/jinja/template.js';
import { readJson } from '../../helpers/files.js';
import { compareTemplates, type TemplateCase } from '../../helpers/templateCases.js';
import { VARIABLES } from '../../peers/templateParts.js';

const file = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const golden = readJson(file('golden/templates.json'));
const render = (template: string, variables: object = {}): string =>
  compileTemplate(template)({ ...variables }).text;
const problem = (template: string, variables: object = {}): TemplateProblem => {
  try {
    render(template, variables);
  } catch (error) {
    return error as TemplateProblem;
  }
  throw new Error(`${template} rendered`);
};

describe('as Python', () => {
  it('random templates', () => {
    const recorded = golden.expressions as [string, string | null][];
    const cases = recorded.map(([template]) => ({ template, variables: VARIABLES }));
    const expected = recorded.map(([, text]) => (text === null ? { error: '' } : { text }));
    const { equal, failing, refused, different } = compareTemplates(cases, expected);
    expect(different).toEqual([]);
    expect(failing).toBe(recorded.filter(([, text]) => text === null).length);
    expect(refused).toBeLessThanOrEqual(0.05 * equal);
  });
  it.each(Object.entries(readJson(file('peers/ownTemplates.json')) as Record<string, string>))(
    'conversations with the template %s',
    (name, template) => {
      const tools = readJson(file('peers/tools.json'));
      const conversations = readJson(file('peers/conversations.json')) as (TemplateCase & {
        tools?: string;
      })[];
      const cases = conversations.map((one) => ({
        ...one,
        template,
        tools: one.tools === undefined ? undefined : tools[one.tools],
        variables: { bos_token: '<s>', eos_token: '</s>', ...one.variables },
      }));
      const expected = conversations.map((one) => golden.chats[name][one.name!] ?? { error: '' });
      const { refused, different } = compareTemplates(cases, expected);
      expect({ refused, different }).toEqual({ refused: 0, different: [] });
    },
  );
  const shared = file('../../shared/cases/35-jinja-expressions/expressions.json');
  const hasShared = existsSync(shared);
  const reason = hasShared ? '' : ' (skipped: ../shared/cases is not there)';
  it.skipIf(!hasShared)(`the expressions of case 35${reason}`, () => {
    const { variables, expressions } = readJson(shared);
    const cases = expressions.map(({ template }: { template: string }) => ({ template, variables }));
    const expected = expressions.map(({ python }: { python: string | null }) =>
      python === null ? { error: '' } : { text: python },
    );
    const { refused, different } = compareTemplates(cases, expected);
    expect({ refused, different }).toEqual({ refused: 0, different: [] });
  });
  it('scopes: what a loop sets stays in it, what a condition sets does not', () => {
    expect(render('{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = i + 1 %}{% endfor %}{{ x }}')).toBe(
      '111',
    );
    expect(render('{% if true %}{% set x = 1 %}{% endif %}{{ x }}')).toBe('1');
    // A block that sets a name hides the variable of that name from itself: so says jinja2's compiler.
    expect(render('{% set x %}{{ x }}{% endset %}[{{ x }}]', { x: 5 })).toBe('[]');
  });
  it('recursive loops, and loops that break', () => {
    const tree = [{ n: 1, c: [{ n: 2, c: [] }] }];
    const walk = '{% for t in tree recursive %}({{ t.n }}{{ loop.depth }}{{ loop(t.c) }}){% endfor %}';
    expect(render(walk, { tree })).toBe('(11(22))');
    expect(render('{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}')).toBe(
      '1',
    );
  });
});

describe('numbers and orders that JavaScript loses', () => {
  it('takes Maps, bigints, and refuses what is lost', () => {
    expect(render('{{ a }}', { a: 2n ** 64n })).toBe('18446744073709551616');
    expect(
      render('{{ a }}', {
        a: new Map([
          ['b', 1],
          ['1', 2],
        ]),
      }),
    ).toBe("{'b': 1, '1': 2}");
    expect(problem('{{ a }}', { a: { b: 1, 1: 2 } }).message).toContain('give a Map');
    expect(problem('{{ a }}', { a: 2 ** 60 }).message).toContain('give a bigint');
    expect(render('{{ a.b }}', { a: { b: 1, 1: 2 } })).toBe('1');
  });
});

describe('refusals', () => {
  it('name the tag and its line', () => {
    expect(problem("a\n{{ 'a' + l }}", { l: [] }).message).toBe(
      "TypeError: unsupported operand type(s) for +: 'str' and 'list' in {{ 'a' + l }} (line 2)",
    );
    expect(problem('{{ l|map("upper") }}', { l: ['a'] })).toMatchObject({
      isRefusal: true,
      message: expect.stringContaining('{{ l|map("upper") }}'),
    });
  });
  it('loops and texts without end come to an end', () => {
    const loops = '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}';
    const budget = { milliseconds: 50, characters: 1000 };
    expect(() => compileTemplate(loops)({}, budget)).toThrow('rendering took longer than 0.05 s');
    expect(() => compileTemplate("{{ 'ab' * 600 }}")({}, budget)).toThrow('longer than 1000 characters');
    expect(problem("{{ 'a' * 10 ** 10 }}").message).toContain('a text of 10000000000 characters');
    expect(problem('{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}').message).toContain('too deep');
  });
});
