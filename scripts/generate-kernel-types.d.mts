import type { NativeOp } from '../src/core/addon/contract.js';

export function kernelTypes(ops: readonly NativeOp[]): string;
