/** headfirst: learning dynamics of language models. */
import './core/addon/node.js';

export * as analysis from './analysis/index.js';
export { backends, type BackendInfo, Context, type ContextOptions, createContext } from './core/context.js';
export type { JobOptions } from './core/job.js';
export { Tensor } from './core/tensor.js';
export type { CodedError, ErrorCode } from './errors.js';
export { passAtK } from './evaluation/estimators.js';
export { type Confidence, evaluate, type Evaluation, type EvaluationOptions } from './evaluation/evaluate.js';
export type { PeftConfig, ResolvedPeftConfig } from './model/adapters/adapters.js';
export type { Sample } from './model/batch.js';
export type { TrainingEstimate, TrainingShape } from './model/trainingEstimate.js';
export type { Completion, GenerateOptions } from './model/generation.js';
export { Model } from './model/model.js';
export type { GradientOptions } from './model/gradients.js';
export type { ParameterInfo, Trainable } from './model/parameters.js';
export type { Scores } from './model/scoring.js';
export { AdamW, type AdamWOptions, type OptimizerState } from './model/optimizer.js';
export type { LoadOptions, ModelDtype } from './model/pretrained.js';
export type { SaveOptions } from './model/saving.js';
export type { ChatMessage, ChatOptions } from './model/chat/chat.js';
export type { Prompt, Tokenizer } from './model/tokenizer/tokenizer.js';
export { kernels } from './kernels/index.js';
export type { KernelOptions, KernelSyncOptions } from './kernels/kernelOptions.js';
export type * from './kernels/generated.js';
export type { ArrayView, BackendName } from './core/addon/contract.js';
export * as ntk from './ntk/index.js';
export { jacobian, type LayoutEntry, perSampleGradientNorms, perSampleGradients } from './ntk/perSample.js';
export {
  type Arm,
  type EvaluationRecord,
  type MetricsLine,
  report,
  type Run,
  type RunSummary,
} from './report/index.js';
export * from './policy/index.js';
export * from './rl/index.js';
