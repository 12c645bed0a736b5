/** Reading the components of tokenizer.json, with errors that name what is wrong. */

/** A component as tokenizer.json has it. */
export type Component = Readonly<Record<string, unknown>>;

/** What tokenizer.json asks for and this package does not compute. The loader adds the file's name. */
export class UnsupportedComponent extends Error {}

export const unsupported = (what: string): never => {
  throw new UnsupportedComponent(what);
};

export const isComponent = (value: unknown): value is Component =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `of` names the component in errors, e.g. 'pre_tokenizer Split'. */
export function component(value: unknown, of: string): Component {
  return isComponent(value) ? value : unsupported(`${of} must be an object, got ${show(value)}`);
}

export function textOf(from: Component, key: string, of: string, otherwise?: string): string {
  const value = from[key] ?? otherwise;
  return typeof value === 'string' ? value : unsupported(`${of}: ${key} must be text, got ${show(value)}`);
}

export function flagOf(from: Component, key: string, of: string, otherwise = false): boolean {
  const value = from[key] ?? otherwise;
  return typeof value === 'boolean'
    ? value
    : unsupported(`${of}: ${key} must be true or false, got ${show(value)}`);
}

export function countOf(from: Component, key: string, of: string, otherwise?: number): number {
  const value = from[key] ?? otherwise;
  const isCount = typeof value === 'number' && Number.isInteger(value) && value >= 0;
  return isCount ? value : unsupported(`${of}: ${key} must be a whole number, got ${show(value)}`);
}

export function listOf(from: Component, key: string, of: string): readonly unknown[] {
  const value = from[key];
  return Array.isArray(value) ? value : unsupported(`${of}: ${key} must be a list, got ${show(value)}`);
}

const SHOWN = 60;
const show = (value: unknown): string => String(JSON.stringify(value)).slice(0, SHOWN);
