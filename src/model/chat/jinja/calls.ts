/** Calling what can be called, and giving arguments to parameters as Python does. */
import { raise } from './errors.js';
import { Callable, type Keywords, Structure, typeName, Undefined, type Value } from './values.js';

export function callValue(callee: Value, args: readonly Value[], keywords: Keywords): Value {
  if (callee instanceof Callable) return callee.call(args, keywords);
  if (callee instanceof Undefined) return callee.fail();
  const call = callee instanceof Structure ? callee.attributes['__call__'] : undefined;
  if (call !== undefined) return callValue(call(), args, keywords);
  return raise('TypeError', `'${typeName(callee)}' object is not callable`);
}

/** A parameter that must be given has no default. */
export type ParameterNames = readonly (string | readonly [name: string, byDefault: Value])[];

/** @throws PythonError, a TypeError, for too many, too few and unknown arguments. */
export function bind(
  caller: string,
  parameters: ParameterNames,
  args: readonly Value[],
  keywords: Keywords,
): Value[] {
  if (args.length > parameters.length)
    raise('TypeError', `${caller}() takes ${parameters.length} arguments but ${args.length} were given`);
  const names = parameters.map((one) => (typeof one === 'string' ? one : one[0]));
  for (const name of keywords.keys()) {
    const position = names.indexOf(name);
    if (position < 0) raise('TypeError', `${caller}() got an unexpected keyword argument '${name}'`);
    if (position < args.length) raise('TypeError', `${caller}() got multiple values for argument '${name}'`);
  }
  return parameters.map((parameter, i) => {
    if (i < args.length) return args[i];
    const value = keywords.get(names[i]!);
    if (value !== undefined) return value;
    if (typeof parameter === 'string')
      return raise('TypeError', `${caller}() missing required argument: '${parameter}'`);
    return parameter[1];
  });
}

/** For functions of Python that take no keywords. */
export function positionalOnly(
  caller: string,
  args: readonly Value[],
  keywords: Keywords,
  most: number,
  least = 0,
): void {
  if (keywords.size > 0) raise('TypeError', `${caller}() takes no keyword arguments`);
  if (args.length > most || args.length < least)
    raise('TypeError', `${caller}() takes ${least} to ${most} arguments but ${args.length} were given`);
}
