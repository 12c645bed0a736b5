import type { NativeOp } from '../src/native/types.js';

export function kernelTypes(ops: readonly NativeOp[]): string;
