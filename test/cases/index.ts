/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { attention } from './attention.js';
import { attentionDecode } from './attention_decode.js';
import { gemm } from './gemm.js';
import { linearPolicyGradient } from './linear_policy_gradient.js';

export const allCases: readonly OpCases[] = [
  attention,
  attentionDecode,
  gemm,
  linearPolicyGradient,
];
