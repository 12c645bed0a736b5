/** The empirical neural tangent kernel of language models: `ntk.*`. */
export {
  decompose,
  type DecomposeResult,
  gram,
  type GramOptions,
  type GramResult,
  type Implementation,
  type Outputs,
} from './gram.js';
export { estimate, type Estimate } from './kernelEstimate.js';
export { sketch, type SketchOptions, type SketchResult } from './sketch.js';
export { linearize, vectorProduct } from './products.js';
