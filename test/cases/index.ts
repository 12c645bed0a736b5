/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { activation } from './activation.js';
import { adamw } from './adamw.js';
import { embedding } from './embedding.js';
import { gemm } from './gemm.js';
import { kvAppend } from './kv_append.js';
import { normCases } from './norm.js';
import { reduce } from './reduce.js';
import { rope } from './rope.js';
import { sampleToken } from './sample_token.js';
import { sumOfSquares } from './sum_of_squares.js';

export const allCases: readonly OpCases[] = [activation, adamw, embedding, gemm, kvAppend, normCases, reduce, rope, sampleToken, sumOfSquares];
