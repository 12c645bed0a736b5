/**
 * Chat templates against transformers, live: HEADFIRST_PYTHON names a Python with the packages of
 * test/peers/requirements.txt. The templates of TRL's wheel with the conversations of conversations.json, and
 * HEADFIRST_PEER_TEMPLATES random templates (default 2000). The counts are printed, for
 * docs/compatibility.md.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { readJson } from '../helpers/files.js';
import {
  askPython,
  compareTemplates,
  type Counts,
  type Rendered,
  type TemplateCase,
} from '../helpers/templateCases.js';
import { randomTemplates } from './randomTemplates.js';
import { VARIABLES } from './templateParts.js';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const script = here('templates.py');
const python = process.env['HEADFIRST_PYTHON'] ?? 'python3';
const hasPackages =
  spawnSync(python, ['-c', 'import transformers, jinja2, trl'], { timeout: 60_000 }).status === 0;
const reason = hasPackages
  ? ''
  : ` (skipped: ${python} lacks the packages of test/peers/requirements.txt; set HEADFIRST_PYTHON)`;
const SPECIALS = { bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>', unk_token: '<unk>' };

function report(what: string, { equal, failing, refused, different }: Counts): void {
  const versions = JSON.stringify(askPython(python, script, ['versions']));
  console.log(
    `${what}, ${versions}: equal ${equal}, failing in both ${failing}, refused ${refused}, ` +
      `different ${different.length}`,
  );
}

const ownConversations = (template: string): TemplateCase[] => {
  const tools = readJson(here('tools.json'));
  const conversations = readJson(here('conversations.json')) as (TemplateCase & { tools?: string })[];
  return conversations.map((one) => ({
    ...one,
    template,
    tools: one.tools === undefined ? undefined : tools[one.tools],
    variables: { bos_token: '<s>', eos_token: '</s>', ...one.variables },
  }));
};

/** Of random templates 420 that render and 60 that do not; of our own templates all conversations. */
function writeGolden(): void {
  const random = randomTemplates(5, 3000).map((template) => ({ template, variables: VARIABLES }));
  const rendered = askPython(python, script, [], random) as Rendered[];
  const short = random
    .map(({ template }, i) => [template, rendered[i]!.text ?? null] as const)
    .filter(([template]) => template.length <= 400);
  const expressions = [
    ...short.filter(([, text]) => text !== null).slice(0, 420),
    ...short.filter(([, text]) => text === null).slice(0, 60),
  ];
  const own = Object.entries(readJson(here('ownTemplates.json')) as Record<string, string>);
  const chats = own.map(([name, template]) => {
    const cases = ownConversations(template);
    const texts = askPython(python, script, [], cases) as Rendered[];
    const byName = cases.map((one, i) => [one.name!, texts[i]!.error === undefined ? texts[i]! : null]);
    return [name, Object.fromEntries(byName)];
  });
  const golden = { expressions, chats: Object.fromEntries(chats) };
  writeFileSync(here('../golden/templates.json'), `${JSON.stringify(golden, null, 1)}\n`);
}

describe.skipIf(!hasPackages)(`chat templates against transformers${reason}`, () => {
  it.runIf(process.env['HEADFIRST_WRITE_GOLDEN'])('writes test/golden/templates.json', writeGolden);
  it('the templates in TRL’s wheel', { timeout: 600_000 }, () => {
    const templates = askPython(python, script, ['trl']) as Record<string, string>;
    const tools = readJson(here('tools.json'));
    const conversations = readJson(here('conversations.json')) as (TemplateCase & { tools?: string })[];
    const cases = Object.entries(templates).flatMap(([name, template]) =>
      conversations.map((one) => ({
        ...one,
        name: `${name}, ${one.name}`,
        template,
        tools: one.tools === undefined ? undefined : tools[one.tools],
        variables: { ...SPECIALS, ...one.variables },
      })),
    );
    const counts = compareTemplates(cases, askPython(python, script, [], cases));
    report(`${Object.keys(templates).length} templates × ${conversations.length} conversations`, counts);
    expect(counts.different.slice(0, 5)).toEqual([]);
    expect(counts.equal).toBeGreaterThan(0);
    expect(counts.refused).toBeLessThanOrEqual(0.03 * counts.equal);
  });
  it('random templates', { timeout: 1_800_000 }, () => {
    const count = Number(process.env['HEADFIRST_PEER_TEMPLATES'] ?? 2000);
    const seed = Number(process.env['HEADFIRST_PEER_SEED'] ?? 11);
    const cases = randomTemplates(seed, count).map((template) => ({ template, variables: VARIABLES }));
    const counts = compareTemplates(cases, askPython(python, script, [], cases));
    report(`${count} random templates`, counts);
    expect(counts.different.slice(0, 5)).toEqual([]);
    expect(counts.refused).toBeLessThanOrEqual(0.05 * counts.equal);
  });
});
