// The step Δθ that explain_step() explains, and taking it.
//
// Plain ascent on the objective of A. Tomihari (arXiv 2601.04670),
//   J = (1/N) Σ_i r̂_i f_i,   f_i = Σ_l log π(y_{i,l} | s_{i,l}) over the scored tokens of sample i,
// is Δθ = η ∇J with r̂_i the advantage of sample i. An Adam step is what the optimizer would make of −∇J.
//
// A tied matrix is used twice, as the classifier and as the input embedding, and its gradient is the sum of
// those of both uses. The two come from a twin: the same model with an untied copy of the matrix as
// classifier.
#pragma once

#include <memory>
#include <vector>

#include "model/model.h"
#include "policy/optimizer.h"
#include "policy/score.h"

namespace hf {

struct Step {
  std::vector<double> total;  // (P) in the model's own layout
  // Only of plain ascent on a tied model: (P + V C) in its twin's layout, where the classifier's own move
  // comes last.
  std::vector<double> by_use;

  double norm(Run& run) const;  // ‖total‖₂
};

// The samples of a batch and one advantage r̂ for each.
struct AdvantageBatch {
  Samples samples;
  std::vector<double> advantages;
};

// Same function, same numbers; the classifier is one more parameter, the last. `model` must be tied.
std::shared_ptr<Model> untied_twin(const Model& model, Run& run);

// η ∇J of the parameters that train in `model`. The gradients are accumulated in `source`, which is a copy of
// the model or its twin. ERR_INVALID_ARG when they are not finite.
Step ascent_step(const Model& model, Model& source, const AdvantageBatch& batch, double learning_rate,
                 Run& run);

// What `optimizer` would do next to −J, or a new AdamW when it is null; it stays as it is. `scratch`, a copy
// of the model, is the model's equal before and after. ERR_INVALID_ARG when the gradients are not finite.
Step adam_step(const Model& model, const std::shared_ptr<Model>& scratch, const AdvantageBatch& batch,
               const Optimizer* optimizer, const OptimizerStep& options, Run& run);

// θ ← θ + Δθ, for the parameters that the step moves.
void move(Model& model, const Step& step, Run& run);

// Gives `model` the weights that `moved` has after move(); parameters that the step leaves alone stay
// untouched. Not interruptible.
void apply(Model& model, const Model& moved, const Step& step, Run& run);

}  // namespace hf
