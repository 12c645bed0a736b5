/** Chat templates against what Python renders of them. */
import { spawnSync } from 'node:child_process';

import { createChatTemplate } from '../../src/model/chat/chat.js';
import { compileTemplate, TemplateProblem } from '../../src/model/chat/jinja/template.js';

/** One rendering, as test/peers/templates.py takes it. */
export interface TemplateCase {
  readonly name?: string;
  readonly template: string;
  readonly messages?: readonly any[];
  readonly tools?: readonly object[] | undefined;
  readonly documents?: readonly object[];
  readonly add_generation_prompt?: boolean;
  readonly continue_final_message?: boolean | string;
  readonly mask?: boolean;
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** What Python makes of it. */
export interface Rendered {
  readonly text?: string;
  readonly error?: string;
  readonly generated?: readonly (readonly [number, number])[];
}

export interface Counts {
  equal: number;
  /** Python raises, and so do we. */
  failing: number;
  refused: number;
  different: string[];
}

/** In code points, as Python counts. */
function inCodePoints(text: string, spans: readonly (readonly [number, number])[]): number[][] {
  const points = (unit: number): number => Array.from(text.slice(0, unit)).length;
  return spans.map(([begin, end]) => [points(begin), points(end)]);
}

function render(one: TemplateCase): Rendered {
  const { template, messages, variables = {} } = one;
  if (messages === undefined) return { text: compileTemplate(template)(variables).text };
  const chat = createChatTemplate('t.json', { chat_template: template })!;
  const { text, generated } = chat(messages, {
    tools: one.tools ?? null,
    documents: one.documents ?? null,
    addGenerationPrompt: one.add_generation_prompt ?? false,
    continueFinalMessage: one.continue_final_message ?? false,
    kwargs: variables,
  });
  return { text, ...(one.mask ? { generated: inCodePoints(text, generated) as [number, number][] } : {}) };
}

/** undefined: an error that names the place. Any other error is a fault of ours. */
function renderOrFail(one: TemplateCase): Rendered | undefined {
  try {
    return render(one);
  } catch (error) {
    const isNamed = error instanceof TemplateProblem || (error as { code?: string }).code !== undefined;
    if (!isNamed) throw error;
    return undefined;
  }
}

export function compareTemplates(cases: readonly TemplateCase[], expected: readonly Rendered[]): Counts {
  const counts: Counts = { equal: 0, failing: 0, refused: 0, different: [] };
  cases.forEach((one, i) => {
    const python = expected[i]!;
    const ours = renderOrFail(one);
    if (ours === undefined) {
      if (python.error === undefined) ++counts.refused;
      else ++counts.failing;
      return;
    }
    const isEqual = ours.text === python.text && (!one.mask || sameSpans(ours, python));
    if (isEqual) ++counts.equal;
    else
      counts.different.push(`${JSON.stringify(one)}: ${JSON.stringify(ours)} for ${JSON.stringify(python)}`);
  });
  return counts;
}

const sameSpans = (ours: Rendered, python: Rendered): boolean =>
  JSON.stringify(ours.generated) === JSON.stringify(python.generated);

export function askPython(python: string, script: string, args: readonly string[], input?: unknown): any {
  const run = spawnSync(python, [script, ...args], {
    input: input === undefined ? '' : JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}
