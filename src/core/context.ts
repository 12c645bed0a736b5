/**
 * Where computations run: a device, its threads and its arithmetic. Jobs of one context run one after the
 * other.
 */
import { fail } from '../errors.js';
import { addon } from './addon/addon.js';
import { kernelRuns } from './addon/runs.js';
import type { BackendName, NativeContext } from './addon/contract.js';
import { checkOptions, choice, count, instance, natural, rule, type Rule, type Rules } from './check.js';

/** A device of this build: what backends() lists. */
export interface BackendInfo {
  readonly name: 'cpu' | 'cuda';
  readonly available: boolean;
  /** Why it is not available, or what it will use. */
  readonly reason: string;
}

/** What createContext() takes; every option has a default. */
export interface ContextOptions {
  /**
   * 'auto' = CUDA when a device is there and the kernels have passed on hardware (kernelRuns), else the CPU.
   * An explicit 'cuda' never falls back.
   */
  readonly device?: 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;
  /** Default: the processors this process may use. */
  readonly threads?: number;
  /**
   * Seeds everything random that is not given a seed of its own (weights from Model.fromConfig, sampling).
   * Default 0.
   */
  readonly seed?: number;
  /**
   * 'fp64' runs the plain reference in double: slow, exact, for small models (CPU). 'tf32' and 'bf16' round
   * the operands of matrix products for the tensor cores and still add in float32 (CUDA). 'bf16' does so on a
   * CPU with AVX512_BF16, too, where it pays if `headfirst bench gemm` shows more bfloat16 than float32
   * GFLOP/s (docs/architecture.md, Decisions). Default 'fp32'.
   */
  readonly math?: 'fp32' | 'fp64' | 'tf32' | 'bf16';
}

function cudaReason(): string {
  const { devices, reason, architectures } = addon.cuda;
  if (devices.length === 0) return reason;
  const described = devices.map(({ name, computeCapability, problem }) => {
    const unusable = problem ? `, not usable: ${problem}` : '';
    return `${name} (${computeCapability}${unusable})`;
  });
  return `${described.join(', ')}; kernels for ${architectures}; ${reason}`;
}

/** What this build can run on this machine. */
export function backends(): BackendInfo[] {
  return [
    { name: 'cpu', available: true, reason: `${addon.cpu.best} kernels, ${addon.cpu.threads} threads` },
    { name: 'cuda', available: addon.cuda.devices.length > 0, reason: cudaReason() },
  ];
}

type Math = NonNullable<ContextOptions['math']>;

/**
 * Where computations run: a device, its threads, its arithmetic, and one queue, whose jobs run one after the
 * other in the order given. Made by createContext(); `using` or dispose() ends it. Models, tensors and
 * results belong to their context and cannot be mixed with another's.
 */
export class Context {
  /** The device in use. */
  readonly device: 'cpu' | 'cuda';
  /** The arithmetic in use (ContextOptions.math). */
  readonly math: Math;
  /** Processors that a job uses. */
  readonly threads: number;
  /** What random numbers come from where a call is given no seed of its own. */
  readonly seed: number;
  /** Why this device was chosen, in words. */
  readonly reason: string;
  /** @internal */
  readonly native: NativeContext;

  /** @internal Use createContext(). */
  constructor(
    native: NativeContext,
    fields: { device: 'cpu' | 'cuda'; math: Math; seed: number; reason: string },
  ) {
    this.native = native;
    this.device = fields.device;
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

/** Of options that take a context. */
export const contextRule: Rule = instance('a context, as createContext() makes', Context);
const OPTIONS: Rules = {
  device: rule(
    "'auto', 'cpu', 'cuda' or 'cuda:<n>'",
    (value) => typeof value === 'string' && /^(auto|cpu|cuda(:\d+)?)$/.test(value),
  ),
  threads: count,
  seed: natural,
  math: choice('fp32', 'fp64', 'tf32', 'bf16'),
};

/**
 * Opens a device: by default the one that 'auto' chooses, all processors, float32, seed 0. `reason` of the
 * result says what was chosen and why.
 * @throws ERR_INVALID_ARG, ERR_BACKEND_UNAVAILABLE (an explicit device that is not there), ERR_UNSUPPORTED
 * (math mode).
 */
export async function createContext(options: ContextOptions = {}): Promise<Context> {
  return makeContext(options);
}

function makeContext(options: ContextOptions): Context {
  checkOptions('createContext', options, OPTIONS);
  const { device = 'auto', threads, seed = 0, math = 'fp32' } = options;
  const onCuda = choosesCuda(device, math);
  if (onCuda) checkCudaMath(math);
  else checkCpuMath(math, device);
  const fields = { device: onCuda ? 'cuda' : 'cpu', math, seed } as const;
  const threadCount = threads ? { threads } : {};
  if (!onCuda) {
    const native = new addon.Context({ ...cpuOptions(math), ...threadCount });
    return new Context(native, { ...fields, reason: cpuReason(device, math) });
  }
  const deviceIndex = cudaIndex(device);
  const native = new addon.Context({
    backend: 'cuda',
    deviceIndex,
    math: math as 'fp32' | 'tf32' | 'bf16',
    ...threadCount,
  });
  const name = addon.cuda.devices[deviceIndex]?.name;
  const why = device === 'auto' ? 'the first usable device' : 'asked for';
  return new Context(native, { ...fields, reason: `cuda: ${name}, ${why}` });
}

/** @throws ERR_BACKEND_UNAVAILABLE for an explicit CUDA device that is not there. */
function choosesCuda(device: string, math: Math): boolean {
  const present = addon.cuda.devices.length > 0;
  if (device.startsWith('cuda')) {
    if (!present)
      fail(
        'ERR_BACKEND_UNAVAILABLE',
        `createContext: device '${device}' is not available: ${addon.cuda.reason}; use device 'cpu'`,
      );
    return true;
  }
  return device === 'auto' && math !== 'fp64' && present && kernelRuns().length > 0;
}

/** 'cuda:1' is device 1; otherwise the first that is usable. */
const cudaIndex = (device: string): number =>
  Number(device.split(':')[1] ?? addon.cuda.devices.findIndex(({ problem }) => problem === undefined));

function checkCudaMath(math: Math): void {
  if (math === 'fp64')
    fail(
      'ERR_UNSUPPORTED',
      "createContext: math 'fp64' is the CPU's plain reference; use device 'cpu', or 'fp32' on CUDA",
    );
}

function checkCpuMath(math: Math, device: string): void {
  if (math === 'tf32')
    fail('ERR_UNSUPPORTED', "createContext: math 'tf32' is not available on the CPU; use 'fp32' or 'fp64'");
  if (math !== 'bf16') return;
  if (device !== 'cpu')
    fail(
      'ERR_UNSUPPORTED',
      `createContext: math 'bf16' is for a GPU, and there is none to choose (${addon.cuda.reason}); ask for ` +
        "device 'cpu' to have AVX512_BF16 do it, which may be slower than 'fp32'",
    );
  if (!addon.cpu.bf16Dot)
    fail(
      'ERR_UNSUPPORTED',
      "createContext: math 'bf16' on the CPU needs AVX512_BF16, which the kernels in use " +
        `('${addon.cpu.best}') do not have here; use 'fp32'`,
    );
}

function cpuOptions(math: Math): { backend?: 'reference64'; math?: 'bf16' } {
  if (math === 'fp64') return { backend: 'reference64' };
  return math === 'bf16' ? { math } : {};
}

function cpuReason(device: string, math: Math): string {
  if (device !== 'auto') return 'cpu: asked for';
  if (addon.cuda.devices.length === 0) return `cpu: ${addon.cuda.reason}`;
  if (math === 'fp64') return "cpu: math 'fp64' is the CPU's";
  const name = addon.cuda.devices[cudaIndex(device)]?.name;
  return (
    `cpu: ${name} is there, but the CUDA kernels have not passed on hardware yet; ` +
    "ask for device 'cuda' to use it"
  );
}

let shared: Context | undefined;
/** The context of calls that are given none: device 'auto', all threads, made on first use. */
export function defaultContext(): Context {
  shared ??= makeContext({});
  return shared;
}
