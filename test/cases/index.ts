/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { activation } from './activation.js';
import { adamw } from './adamw.js';
import { attention } from './attention.js';
import { attentionDecode } from './attention_decode.js';
import { classifierGradient } from './classifier_gradient.js';
import { copy } from './copy.js';
import { embedding } from './embedding.js';
import { embeddingGram } from './embedding_gram.js';
import { gemm } from './gemm.js';
import { gemm_pack } from './gemm_pack.js';
import { jacobianGram } from './jacobian_gram.js';
import { kvAppend } from './kv_append.js';
import { linearPolicyGradient } from './linear_policy_gradient.js';
import { normCases } from './norm.js';
import { perSampleLinear } from './per_sample_linear.js';
import { reduce } from './reduce.js';
import { rope } from './rope.js';
import { rowDot } from './row_dot.js';
import { sampleToken } from './sample_token.js';
import { scaleRows } from './scale_rows.js';
import { segmentReduce } from './segment_reduce.js';
import { sketch } from './sketch.js';
import { sketchGram } from './sketch_gram.js';
import { sumOfSquares } from './sum_of_squares.js';
import { tiedGram } from './tied_gram.js';
import { tokenGram } from './token_gram.js';

export const allCases: readonly OpCases[] = [
  activation,
  adamw,
  attention,
  attentionDecode,
  classifierGradient,
  copy,
  embedding,
  embeddingGram,
  gemm,
  gemm_pack,
  jacobianGram,
  kvAppend,
  linearPolicyGradient,
  normCases,
  perSampleLinear,
  reduce,
  rope,
  rowDot,
  sampleToken,
  scaleRows,
  segmentReduce,
  sketch,
  sketchGram,
  sumOfSquares,
  tiedGram,
  tokenGram,
];
