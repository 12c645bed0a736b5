// What one update does to the policy: predicted to first order, and measured by taking it.
//
// A. Tomihari, "Learning Dynamics in RL Post-Training for Language Models" (arXiv 2601.04670), the change of
// the policy at a state s under a small step Δθ:
//   Δ log π(·|s) ≈ T_s Δz(s),   T_s = I − 1 π(·|s)ᵀ
//   Δz(s) = ΔW φ(s)          +  W (∂φ(s)/∂θ_φ) Δθ_φ
//           representation      gradient
// A tied matrix W moves by the gradients of both its uses, ΔW = ΔW_c + ΔW_e (as classifier and as embedding).
// The representation component takes ΔW_c φ, the gradient component ΔW_e as embedding, and the rest is a
// component of its own that the paper does not have:
//   cross(s) = ΔW_e φ(s)  +  W (∂φ(s)/∂W_e) ΔW_c          each use's gradient moving the other use
// A step that is no gradient has no such split by source; its cross component is 0 by convention.
//
// What is measured is log π after the step less log π before it, on a scratch copy of the model.
//
// Cost: per probe one forward pass and one forward-mode pass (two when tied, one per layer group when asked
// for), and a forward pass after the step; probes that continue each other share them. Memory: the step as
// one double per parameter, and a copy of the model (two when tied). Results do not depend on the number of
// threads. Cancelled at the passes' checkpoints; progress in thousandths of the parts of the work.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "analysis/influences.h"
#include "analysis/log_policy.h"
#include "analysis/step.h"
#include "analysis/tangents.h"

namespace hf {

enum class Update { kGradient, kAdam, kGiven };
inline constexpr const char* kUpdates[] = {"gradient", "adam", "given"};

struct ExplainOptions {
  Update update = Update::kGradient;
  double learning_rate = 0;                    // kGradient: η
  std::shared_ptr<const Optimizer> optimizer;  // kAdam: what is copied; null: a new one
  OptimizerStep adam;                          // kAdam
  std::vector<double> given;                   // kGiven: Δθ (P)
  bool layers = false;                         // the gradient component by layer too
  bool apply = false;                          // leave the model as it is after the step
  std::vector<int64_t> targets;                // the token followed at each probe; empty: the likeliest
  std::optional<InfluenceOptions> influences;  // kGradient only
};

// A number before the step, its first-order change by component and in all, and its measured change.
struct Change {
  double before = 0, representation = 0, gradient = 0, cross = 0, predicted = 0, measured = 0;
};

// What the step does to the next-token distribution at one probe.
struct ProbeExplanation {
  // Δ log π (V); predicted = representation + gradient + cross.
  Vocabulary representation, gradient, cross, predicted, measured;
  // The parts of `gradient`: embeddings, layer 0 … L − 1, final norm. Empty unless asked for.
  std::vector<Vocabulary> layers;
  int64_t target = 0;
  Accuracy accuracy = {};
  Change logp, max_prob, entropy;  // of the target, of the largest probability, in nats
};

struct Explanation {
  std::vector<ProbeExplanation> probes;
  Accuracy accuracy = {};     // over the Δ log π of all probes and tokens together
  Change max_prob, entropy;   // means over probes
  bool cross_defined = true;  // false: tied, and the step is no gradient
  double step_norm = 0;       // ‖Δθ‖₂; a tied matrix counts once
  std::optional<Influences> influences;
};

// batch: what the step is made from; not read when it is given.
Explanation explain_step(const std::shared_ptr<Model>& model, const AdvantageBatch& batch,
                         const Prefixes& probes, const ExplainOptions& options, Run& run);

}  // namespace hf
