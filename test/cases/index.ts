/** Every op's cases; a new op adds one line here. */
import type { OpCases } from './define.js';
import { embeddingGram } from './embedding_gram.js';
import { gemm } from './gemm.js';
import { jacobianGram } from './jacobian_gram.js';
import { perSampleLinear } from './per_sample_linear.js';
import { segmentReduce } from './segment_reduce.js';
import { sketch } from './sketch.js';
import { sketchGram } from './sketch_gram.js';
import { tiedGram } from './tied_gram.js';
import { tokenGram } from './token_gram.js';

export const allCases: readonly OpCases[] = [gemm, tokenGram, jacobianGram, perSampleLinear, segmentReduce, embeddingGram, tiedGram, sketch, sketchGram];
