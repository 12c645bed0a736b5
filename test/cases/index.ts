/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { gemm } from './gemm.js';
import { gemm_pack } from './gemm_pack.js';

export const allCases: readonly OpCases[] = [gemm, gemm_pack];
