/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { activation } from './activation.js';
import { adamw } from './adamw.js';
import { attention } from './attention.js';
import { attentionDecode } from './attention_decode.js';
import { embedding } from './embedding.js';
import { gemm } from './gemm.js';
import { kvAppend } from './kv_append.js';
import { linearPolicyGradient } from './linear_policy_gradient.js';
import { normCases } from './norm.js';
import { reduce } from './reduce.js';
import { rope } from './rope.js';
import { sampleToken } from './sample_token.js';
import { sumOfSquares } from './sum_of_squares.js';

export const allCases: readonly OpCases[] = [
  activation,
  adamw,
  attention,
  attentionDecode,
  embedding,
  gemm,
  kvAppend,
  linearPolicyGradient,
  normCases,
  reduce,
  rope,
  sampleToken,
  sumOfSquares,
];
