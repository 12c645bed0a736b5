/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { gemm } from './gemm.js';
import { linearPolicyGradient } from './linear_policy_gradient.js';

export const allCases: readonly OpCases[] = [gemm, linearPolicyGradient];
