/** Option names: camelCase here, snake_case in TRL's and peft's files; the mapping is mechanical. */
export const toCamelCase = (name: string): string =>
  name.replace(/(?<=[a-z0-9])_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** Keys only, at every depth: values such as 'dr_grpo' stay. */
export function camelCaseKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCaseKeys);
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const name = toCamelCase(key);
      return [name, name === 'chatTemplateKwargs' ? item : camelCaseKeys(item)];
    }),
  );
}
