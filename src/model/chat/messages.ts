/** What transformers does with messages before and after a template sees them. */
import { fail } from '../../errors.js';
import { stripRight, stripLeft } from './jinja/text.js';

type Message = Readonly<Record<string, unknown>>;

/** One thing under three names; the first is what most templates read. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'] as const;

const isGiven = (value: unknown): boolean => value !== null && value !== undefined;

/** Without keys that have no value, and with reasoning under the names that templates read. */
export function prepareMessages(messages: readonly Message[]): Message[] {
  return messages.map((message) => {
    const given = Object.fromEntries(Object.entries(message).filter(([, value]) => isGiven(value)));
    const reasoning = REASONING.map((name) => given[name]).find(isGiven);
    return isGiven(reasoning) ? { thinking: reasoning, ...given, reasoning_content: reasoning } : given;
  });
}

/** Marks where the last message ends, so that what a template writes behind it can be cut off. */
const TAG = 'CONTINUE_FINAL_MESSAGE_TAG ';

function fieldsToContinue(message: Message, field: string): string[] {
  const isReasoning = (REASONING as readonly string[]).includes(field);
  return isReasoning ? REASONING.filter((name) => message[name] === message[field]) : [field];
}

/** @returns messages whose last is marked, and its text. */
export function checkFinalMessage(
  messages: readonly Message[],
  field: string,
  template: string,
): { readonly messages: Message[]; readonly text: string } {
  const last = messages.at(-1)!;
  const value = last[field];
  if (!isGiven(value)) refuse(`the last message has no '${field}' to go on with`);
  const fields = fieldsToContinue(last, field);
  if (!fields.some((name) => template.includes(name))) refuse(`the template does not read '${field}'`);
  const { marked, text } = mark(value);
  const changed = Object.fromEntries(fields.map((name) => [name, marked]));
  return { messages: [...messages.slice(0, -1), { ...last, ...changed }], text };
}

function refuse(what: string): never {
  fail('ERR_INVALID_ARG', `chat template: continueFinalMessage: ${what}`);
}

function mark(value: unknown): { readonly marked: unknown; readonly text: string } {
  if (typeof value === 'string') return { marked: value + TAG, text: value };
  if (!Array.isArray(value)) return refuse('what is to be continued is neither text nor a list of parts');
  const parts = value as readonly Message[];
  const at = parts.findLastIndex((part) => typeof part === 'object' && part !== null && 'text' in part);
  const text = parts[at]?.['text'];
  if (typeof text !== 'string') return refuse('the last message has no part with text');
  return { marked: parts.map((part, i) => (i === at ? { ...part, text: text + TAG } : part)), text };
}

/** Cut where the mark of the last message is. */
export function continued<Rendered extends { readonly text: string }>(
  rendered: Rendered,
  message: string,
): Rendered {
  const { text } = rendered;
  const tag = TAG.trimEnd();
  const at = text.lastIndexOf(tag);
  if (at < 0 || !text.includes(stripLeft(stripRight(message))))
    refuse('the last message does not appear in the rendered text: the template shortens or drops it');
  const isWhole = text.startsWith(TAG, at);
  const kept = text.slice(0, at);
  return { ...rendered, text: isWhole ? kept : stripRight(kept) };
}
