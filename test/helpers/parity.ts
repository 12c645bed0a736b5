/**
 * What every implementation of an op must pass, from its case file: the accuracy rule, guard bands, poisoned
 * outputs, padded rows, derivatives.
 */
import { expect, it } from 'vitest';

import type { CaseArgs, OpCase, OpCases } from '../cases/define.js';
import { addon } from '../../src/core/addon/addon.js';
import {
  derivedArgs,
  entry,
  hasEntry,
  isTensorField,
  numbers,
  prepare,
  relativeError,
  runCase,
} from './kernels.js';
import { Random, type RealTensor } from './random.js';
import type {
  ArrayView,
  BackendName,
  FieldDescription,
  KernelResult,
} from '../../src/core/addon/contract.js';

export const seedOf = (text: string) =>
  [...text].reduce((hash, c) => Math.imul(hash, 31) + c.charCodeAt(0), 7);

/** The accuracy rule: at most twice the naive float32 evaluation's error plus 1e-6. */
const allowed = (naive: number) => 2 * naive + 1e-6;

/** A fiber costs more than a thread: what is large runs once there, what is larger not at all. */
const emulated = addon.cuda.architectures === 'emulated';
const MOST_FLOPS = 1e7;
const MOST_BYTES = 8e6;
const tooLarge = (name: string, args: CaseArgs) => {
  const { flops, bytes } = entry(name).cost(prepare(entry(name), args, 'cuda').args);
  return flops > MOST_FLOPS || bytes > MOST_BYTES;
};

function withEmulationSeed<T>(seed: number, body: () => T): T {
  process.env['HEADFIRST_EMULATION_SEED'] = String(seed);
  try {
    return body();
  } finally {
    delete process.env['HEADFIRST_EMULATION_SEED'];
  }
}

export function outputsOf(name: string): Set<string> {
  return new Set(
    entry(name)
      .fields.filter((f) => f.kind === 'out' || f.kind === 'inout')
      .map((f) => f.name),
  );
}

/**
 * One output against the reference: opaque bytes are not compared, indices are equal, reals keep the rule.
 */
function checkOutput(
  field: FieldDescription,
  actual: ArrayView,
  expected: ArrayView,
  naive: ArrayView,
  label: string,
): void {
  if (field.dtype === 'uint8') return; // every backend has a layout of its own
  if (field.dtype === 'int32') expect(numbers(actual), label).toEqual(numbers(expected));
  else
    expect(relativeError(actual, expected), label).toBeLessThanOrEqual(
      allowed(relativeError(naive, expected)),
    );
}

/**
 * Each backend three times: as it is, with another number of threads (on an emulated device, in another order
 * of them), and with padded rows.
 */
function checkParity(name: string, args: CaseArgs, backends: readonly BackendName[]): void {
  const op = entry(name);
  const expected = runCase(op, args, 'reference64');
  const naive = runCase(op, args, 'reference32');
  for (const backend of backends) {
    const one = runCase(op, args, backend);
    const once = emulated && op.cost(prepare(op, args, backend).args).flops > 1e6;
    const two = once ? one : withEmulationSeed(2, () => runCase(op, args, backend, { threads: 2 }));
    const padded = once ? one : runCase(op, args, backend, { padRows: true });
    for (const field of op.fields) {
      const output = field.name;
      if (field.kind === 'in' || !expected[output]) continue;
      const label = `${name}.${output} on ${backend}`;
      const check = (result: KernelResult, what: string) =>
        checkOutput(field, result[output]!, expected[output]!, naive[output]!, what);
      check(one, label);
      check(padded, `${label}, padded rows`);
      expect(numbers(two[output]!), `${label}, again`).toEqual(numbers(one[output]!));
    }
  }
}

/** Forward in float64 without rounding, with every optional output that derivatives need. */
const forward64 = (name: string, args: CaseArgs): KernelResult =>
  runCase(entry(name), args, 'reference64', { round: false });

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/**
 * d/dε of Σ over outputs ⟨cotangent, output⟩ along `direction` of input `input`, 4-point central differences.
 */
function finiteDifference(
  name: string,
  args: CaseArgs,
  directions: Record<string, Float64Array>,
  functional: (result: KernelResult) => number,
): number {
  const at = (epsilon: number) => {
    const moved: CaseArgs = { ...args };
    for (const [input, direction] of Object.entries(directions)) {
      const tensor = args[input] as RealTensor;
      moved[input] = { data: tensor.data.map((v, i) => v + epsilon * direction[i]!), shape: tensor.shape };
    }
    return functional(forward64(name, moved));
  };
  const h = 1e-3;
  return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
}

/** |analytic − numeric| of a directional derivative, relative to ‖gradient‖ ‖direction‖. */
function derivativeError(gradient: Float64Array, direction: Float64Array, numeric: number): number {
  const scale = Math.sqrt(dot(gradient, gradient) * dot(direction, direction)) + 1e-12;
  return Math.abs(dot(gradient, direction) - numeric) / scale;
}
const MOST_DERIVATIVE_ERROR = 1e-7;

/** A forward call in float64, and the numbers that its derivatives are asked with. */
interface Differentiated {
  readonly op: string;
  readonly args: CaseArgs;
  readonly result: KernelResult;
  readonly random: Random;
}

/**
 * The gradients that the backward entry gives against finite differences of ⟨cotangents, outputs⟩; returns
 * the cotangents by output.
 */
function checkBackward({ op, args, result, random }: Differentiated): Record<string, RealTensor> {
  const backward = entry(`${op}_backward`);
  const backwardArgs = derivedArgs(backward, args, result, (shape) => random.normal(shape));
  const cotangents: Record<string, RealTensor> = {};
  for (const { kind, name } of backward.fields) {
    if (kind === 'in' && name.startsWith('d_')) cotangents[name.slice(2)] = backwardArgs[name] as RealTensor;
    // Accumulated outputs start from zero here.
    if (kind === 'inout' && backwardArgs[name] === true) {
      const input = args[name.slice(2)] as RealTensor;
      backwardArgs[name] = { data: new Float64Array(input.data.length), shape: input.shape };
    }
  }
  const functional = (r: KernelResult) =>
    Object.entries(cotangents).reduce((sum, [output, c]) => sum + dot(numbers(r[output]!), c.data), 0);
  const gradients = runCase(backward, backwardArgs, 'reference64', { round: false });
  for (const [name, view] of Object.entries(gradients)) {
    if (!name.startsWith('d_')) continue;
    const input = name.slice(2);
    const gradient = numbers(view);
    const direction = random.normal([gradient.length]).data;
    const numeric = finiteDifference(op, args, { [input]: direction }, functional);
    expect(derivativeError(gradient, direction, numeric), `${backward.name}: ${name}`).toBeLessThan(
      MOST_DERIVATIVE_ERROR,
    );
  }
  return cotangents;
}

/** The tangents that the jvp entry gives against finite differences along all tangents of the inputs. */
function checkJvp(
  { op, args, result, random }: Differentiated,
  cotangents: Readonly<Record<string, RealTensor>>,
): void {
  const jvp = entry(`${op}_jvp`);
  const jvpArgs = derivedArgs(jvp, args, result, (shape) => random.normal(shape));
  const tangents: Record<string, Float64Array> = {};
  for (const { kind, name } of jvp.fields)
    if (kind === 'in' && name.startsWith('t_') && jvpArgs[name])
      tangents[name.slice(2)] = (jvpArgs[name] as RealTensor).data;
  const outputs = runCase(jvp, jvpArgs, 'reference64', { round: false });
  for (const [name, view] of Object.entries(outputs)) {
    const output = name.slice(2);
    const probe = (cotangents[output] ?? random.normal(view.shape)).data;
    const numeric = finiteDifference(op, args, tangents, (r) => dot(numbers(r[output]!), probe));
    expect(derivativeError(numbers(view), probe, numeric), `${jvp.name}: ${name}`).toBeLessThan(
      MOST_DERIVATIVE_ERROR,
    );
  }
}

export function checkDerivatives(cases: OpCases, test: OpCase): void {
  const random = new Random(seedOf(test.name));
  const args = test.args(random);
  const call: Differentiated = { op: cases.op, args, result: forward64(cases.op, args), random };
  const cotangents = hasEntry(`${cases.op}_backward`) ? checkBackward(call) : {};
  if (hasEntry(`${cases.op}_jvp`)) checkJvp(call, cotangents);
}

/** d_<input> that the forward call itself returns, against finite differences of the case's objective. */
export function checkOwnGradients(op: string, test: OpCase): void {
  const random = new Random(seedOf(test.name));
  const args = test.args(random);
  const base = forward64(op, args);
  const functional = test.objective!(base, args);
  for (const name of outputsOf(op)) {
    const input = name.slice(2);
    if (!name.startsWith('d_') || !base[name] || !args[input]) continue;
    const start = typeof args[name] === 'object' ? (args[name] as RealTensor).data : undefined;
    const gradient = numbers(base[name]!).map((g, i) => g - (start?.[i] ?? 0)); // accumulated outputs
    const direction = random.normal([gradient.length]).data;
    const numeric = finiteDifference(op, args, { [input]: direction }, functional);
    expect(derivativeError(gradient, direction, numeric), name).toBeLessThan(MOST_DERIVATIVE_ERROR);
  }
}

/**
 * The calls of one case: forward, and the backward and jvp that belong to it, with numbers from the same
 * generator.
 */
export function callsOf(cases: OpCases, test: OpCase): { readonly name: string; readonly args: CaseArgs }[] {
  const forward = entry(cases.op);
  const random = new Random(seedOf(test.name));
  const args = test.args(random);
  const result = runCase(forward, args, 'reference64');
  const calls = [{ name: cases.op, args }];
  for (const name of [`${cases.op}_backward`, `${cases.op}_jvp`].filter(hasEntry)) {
    const extra = name.endsWith('_backward') ? (test.backward?.(random) ?? {}) : {};
    const derived = derivedArgs(entry(name), args, result, (shape) => random.normal(shape), extra);
    for (const field of entry(name).fields)
      if (field.kind === 'inout' && derived[field.name] === true && isTensorField(field))
        derived[field.name] = random.normal((args[field.name.slice(2)] as RealTensor).shape);
    calls.push({ name, args: derived });
  }
  return calls;
}

/** Forward, backward and jvp of one case against the double reference. */
export function parityTest(cases: OpCases, test: OpCase, backends: readonly BackendName[]): void {
  it(`${test.name}: parity, poisoned outputs, threads`, (context) => {
    const calls = callsOf(cases, test);
    if (emulated && backends.includes('cuda') && calls.some(({ name, args }) => tooLarge(name, args)))
      context.skip('too large for the emulated device');
    for (const { name, args } of calls) checkParity(name, args, backends);
  });
}

export function invariantTests(cases: OpCases, backends: readonly BackendName[]): void {
  for (const invariant of cases.invariants ?? [])
    it.skipIf(invariant.many && emulated && backends.includes('cuda'))(`invariant: ${invariant.name}`, () => {
      for (const backend of backends)
        invariant.check(
          (name, args) => runCase(entry(name), args, backend),
          new Random(seedOf(invariant.name)),
          backend === 'reference64' ? 'float64' : 'float32',
        );
    });
}
