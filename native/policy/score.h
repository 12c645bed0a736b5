// What a policy says about given tokens, and the gradient of a loss on that: the transformer and op
// linear_policy_gradient together, in blocks of whole sequences, never holding [tokens, V].
#pragma once

#include "model/forward.h"
#include "model/model.h"
#include "ops/loss/linear_policy_gradient.h"

namespace hf {

// Packed sequences and their scored positions (host memory, int32).
struct Samples {
  const int32_t* ids;
  const int32_t* offsets;  // (S+1)
  int64_t sequences;
  const int32_t* rows;         // (R) packed row whose next token targets[i] is
  const int32_t* targets;      // (R)
  const int32_t* row_offsets;  // (S+1)

  int64_t tokens() const { return offsets[sequences]; }
  int64_t scored() const { return row_offsets[sequences]; }
};

// The loss, and per scored row its inputs and results; all (R), in the context's real type (argmax, clipped:
// int32). Absent = not given or not wanted. `loss` holds the scalars; its views are ignored.
struct PolicyBatch {
  LinearPolicyGradientArgs loss;
  View coefficients, entropy_coefficients, advantages, old_logps, ref_logps, weights;
  // head_weight (C), head_gradients (R): a head beside the classifier, one number per row; it adds
  // head_gradients[n] · head_weight to row n's gradient of the features.
  View head_weight, head_gradients;
  View logps, entropy, max_prob, argmax, kl, ratio, losses, clipped;
};

constexpr int64_t kDefaultMaxTokens = 4096;

// Fills the results; no gradients. features (R, C), if given, replaces the transformer.
void score(const Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
           Run& run);

struct AccumulateOptions {
  const Model* reference = nullptr;        // for kl 'exact'
  int64_t max_tokens = kDefaultMaxTokens;  // held at a time, but at least one sequence
  // Keep layer inputs only and compute the rest again: less memory, one more forward pass.
  bool checkpointing = false;
};
// As score(), and adds the gradients of the trainable parameters to the model's.
void accumulate(Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
                const AccumulateOptions& options, Run& run);
// The same into a sink, whose wanted parameters are those that train.
void accumulate(const Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
                const AccumulateOptions& options, SumSink& sink, Run& run);

// φ at the scored rows, into out (R, C).
void scored_features(const Model& model, const Samples& samples, const View& out, Run& run);

}  // namespace hf
