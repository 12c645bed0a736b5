/** Where computations run: a device, its threads and its arithmetic. Jobs of one context run one after the other. */
import { fail, suggestion } from '../errors.js';
import { addon } from '../native/addon.js';
import type { BackendName, NativeContext } from '../native/types.js';

export interface BackendInfo {
  readonly name: 'cpu' | 'cuda';
  readonly available: boolean;
  /** Why it is not available, or what it will use. */
  readonly reason: string;
}

export interface ContextOptions {
  /** 'auto' = CUDA when a device is there, else the CPU. An explicit 'cuda' never falls back. */
  readonly device?: 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;
  /** Default: the processors this process may use. */
  readonly threads?: number;
  /** Seeds everything random that is not given a seed of its own (weights from Model.fromConfig, sampling). Default 0. */
  readonly seed?: number;
  /** 'fp64' runs the plain reference in double: slow, exact, for small models. Default 'fp32'. */
  readonly math?: 'fp32' | 'fp64' | 'tf32' | 'bf16';
}

/** What this build can run on this machine. */
export function backends(): BackendInfo[] {
  return [
    { name: 'cpu', available: true, reason: `${addon.cpu.best} kernels, ${addon.cpu.threads} threads` },
    { name: 'cuda', available: false, reason: 'this build contains no CUDA kernels' },
  ];
}

export class Context {
  readonly device: 'cpu' | 'cuda';
  readonly math: 'fp32' | 'fp64';
  readonly threads: number;
  readonly seed: number;
  /** Why this device was chosen, in words. */
  readonly reason: string;
  /** @internal */
  readonly native: NativeContext;

  /** @internal Use createContext(). */
  constructor(native: NativeContext, fields: { math: 'fp32' | 'fp64'; seed: number; reason: string }) {
    this.native = native;
    this.device = 'cpu';
    this.math = fields.math;
    this.threads = native.threads;
    this.seed = fields.seed;
    this.reason = fields.reason;
  }
  /** The implementation column in use, e.g. 'avx2'. */
  get backend(): BackendName {
    return this.native.backend;
  }
  /** Live tensors and their bytes; scratch memory now and at its peak since the last call. */
  memory(): ReturnType<NativeContext['memory']> {
    return this.native.memory();
  }
  /** Ends the context once its queued jobs are done; later calls on it fail with ERR_DISPOSED. */
  dispose(): void {
    this.native.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

const OPTIONS = ['device', 'threads', 'seed', 'math'];

/** @throws ERR_INVALID_ARG, ERR_BACKEND_UNAVAILABLE (an explicit device that is not there), ERR_UNSUPPORTED (math mode). */
export async function createContext(options: ContextOptions = {}): Promise<Context> {
  for (const name of Object.keys(options))
    if (!OPTIONS.includes(name)) fail('ERR_INVALID_ARG', `createContext: there is no option '${name}'.${suggestion(name, OPTIONS)}`);
  const { device = 'auto', threads, seed = 0, math = 'fp32' } = options;
  if (device !== 'auto' && device !== 'cpu') {
    if (!/^cuda(:\d+)?$/.test(device)) fail('ERR_INVALID_ARG', `createContext: device must be 'auto', 'cpu', 'cuda' or 'cuda:<n>', got '${String(device)}'`);
    fail('ERR_BACKEND_UNAVAILABLE', `createContext: device '${device}' is not available: ${backends().find((b) => b.name === 'cuda')!.reason}; use device 'cpu'`);
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) fail('ERR_INVALID_ARG', `createContext: threads must be a positive integer, got ${threads}`);
  if (!(Number.isSafeInteger(seed) && seed >= 0)) fail('ERR_INVALID_ARG', `createContext: seed must be a non-negative integer, got ${seed}`);
  if (math === 'tf32' || math === 'bf16') fail('ERR_UNSUPPORTED', `createContext: math '${math}' is not available on the CPU; use 'fp32' or 'fp64'`);
  if (math !== 'fp32' && math !== 'fp64') fail('ERR_INVALID_ARG', `createContext: math must be 'fp32', 'fp64', 'tf32' or 'bf16', got '${String(math)}'`);
  const native = new addon.Context({ ...(math === 'fp64' ? { backend: 'reference64' as const } : {}), ...(threads ? { threads } : {}) });
  const reason = device === 'auto' ? `cpu: ${backends().find((b) => b.name === 'cuda')!.reason}` : 'cpu: asked for';
  return new Context(native, { math, seed, reason });
}

let shared: Promise<Context> | undefined;
/** The context of calls that are given none: device 'auto', all threads, made on first use. */
export function defaultContext(): Promise<Context> {
  return (shared ??= createContext());
}
