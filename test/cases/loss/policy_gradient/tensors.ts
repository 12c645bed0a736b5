/** Arguments and results of linear_policy_gradient's cases, as plain columns of numbers. */
import type { KernelResult } from '../../../../src/core/addon/contract.js';
import { numbers } from '../../../helpers/kernels.js';
import type { IntTensor, RealTensor } from '../../../helpers/random.js';
import type { CaseArgs } from '../../define.js';

export const OP = 'linear_policy_gradient';
/** The target of a row that takes no part in the loss. */
export const IGNORED = -100;

export type Run = (entry: string, args: CaseArgs) => KernelResult;

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

export const filled = (shape: readonly number[], value: number): RealTensor => ({
  data: new Float64Array(sizeOf(shape)).fill(value),
  shape,
});
export const vector = (data: Float64Array): RealTensor => ({ data, shape: [data.length] });

export const tensor = (args: CaseArgs, name: string) => args[name] as RealTensor;
/** The numbers of an optional argument. */
export const real = (args: CaseArgs, name: string) => (args[name] as RealTensor | undefined)?.data;
export const targetsOf = (args: CaseArgs) => (args['targets'] as IntTensor).data;
export const number = (args: CaseArgs, name: string, otherwise: number) =>
  (args[name] as number | undefined) ?? otherwise;
export const text = (args: CaseArgs, name: string, otherwise: string) =>
  (args[name] as string | undefined) ?? otherwise;

/** The numbers of a result. */
export const column = (result: KernelResult, name: string) => numbers(result[name]!);
export const total = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);

/** The arguments without some. */
export function without(args: CaseArgs, ...names: string[]): CaseArgs {
  return Object.fromEntries(Object.entries(args).filter(([name]) => !names.includes(name)));
}

/** Rows [begin, end) of every argument that has one entry per row. */
export function rowsOf(args: CaseArgs, begin: number, end: number): CaseArgs {
  const N = targetsOf(args).length;
  const cut = (value: CaseArgs[string]): CaseArgs[string] => {
    if (typeof value !== 'object' || value.shape[0] !== N) return value;
    const width = value.data.length / N;
    return {
      data: value.data.slice(begin * width, end * width),
      shape: [end - begin, ...value.shape.slice(1)],
    } as RealTensor;
  };
  return Object.fromEntries(Object.entries(args).map(([name, value]) => [name, cut(value)]));
}

/** Real numbers as float32 holds them: what the harness hands over. */
export function rounded(args: CaseArgs): CaseArgs {
  const round = (value: CaseArgs[string]): CaseArgs[string] =>
    typeof value === 'object' && value.data instanceof Float64Array
      ? { ...value, data: value.data.map(Math.fround) }
      : value;
  return Object.fromEntries(Object.entries(args).map(([name, value]) => [name, round(value)]));
}
