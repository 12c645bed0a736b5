/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { gemm } from './gemm.js';

export const allCases: readonly OpCases[] = [gemm];
