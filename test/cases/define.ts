/**
 * What an op's case file contains. One file per op drives parity, gradient, invariant and poisoned-output
 * tests and the benchmark.
 */
import type { KernelArgs, KernelResult } from '../../src/core/addon/contract.js';
import type { Random, RealTensor, IntTensor } from '../helpers/random.js';

/**
 * Arguments in float64; the harness rounds them. `true` for an output asks for it; outputs that are left out
 * are allocated.
 */
export type CaseArgs = Record<string, RealTensor | IntTensor | number | boolean | string>;

export interface OpCase {
  readonly name: string;
  args(random: Random): CaseArgs;
  /** Arguments that only the backward (or jvp) entry has, e.g. { add_to_d_x: true }. */
  readonly backward?: (random: Random) => CaseArgs;
  /**
   * For an op that returns its own gradients (d_<input>, asked for in args): what they are the gradient of,
   * as a function of a call's results. `base` is the unmoved call: anything taken from it is a constant
   * (stop_gradient).
   */
  readonly objective?: (base: KernelResult, args: CaseArgs) => (result: KernelResult) => number;
  /** Not run through finite differences: too large, or not differentiable there. */
  readonly skipGradient?: string;
  /**
   * Benchmarks only: the math to run it in, where the machine has it. Operands are bfloat16 already, so that
   * it is as exact as any.
   */
  readonly math?: 'bf16';
}

export interface Invariant {
  readonly name: string;
  /**
   * Thousands of calls, or of draws: not for the emulated device, where parity with the reference, call by
   * call, stands for it.
   */
  readonly many?: true;
  /**
   * Throws (expect) when it does not hold. `run` calls an entry on a backend: double reference and every CPU
   * one in turn.
   */
  check(
    run: (entry: string, args: CaseArgs) => KernelResult,
    random: Random,
    real: 'float32' | 'float64',
  ): void;
}

export interface OpCases {
  /** The row of the op table. */
  readonly op: string;
  readonly cases: readonly OpCase[];
  readonly invariants?: readonly Invariant[];
  /** Calls that must be refused, with the expected code and a part of the message. */
  readonly refused?: readonly {
    name: string;
    entry?: string;
    args: (random: Random) => KernelArgs | CaseArgs;
    code: string;
    message: string;
  }[];
  /**
   * Inputs whose derivatives the gradient test takes; default: every real input of the forward entry that has
   * a d_ or t_ partner.
   */
  readonly bench: readonly OpCase[];
}

export const defineCases = (cases: OpCases): OpCases => cases;
