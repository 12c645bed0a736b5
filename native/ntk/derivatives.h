// What a model puts out for whole sequences, and the derivatives of its logits through the whole engine.
//
// At the position of state s (a text so far) the model has features φ(s) (C) and logits z(s) = W φ(s) (V).
// With parameters θ = (W, θ_φ), θ_φ everything below the classifier W:
//   forward mode   ż = ΔW φ + W φ̇,  φ̇ = (∂φ/∂θ_φ) Δθ_φ     along one direction Δθ of the parameters
//   reverse mode   dθ = Σ_s gᵀ(s) ∂z(s)/∂θ                  for cotangents g(s) (V) of the logits:
//                  dW = Σ_s g(s) φ(s)ᵀ, and the backward pass carries d_φ(s) = Wᵀ g(s) to the rest
// The first is the split of A. Tomihari, "Learning Dynamics in RL Post-Training for Language Models"
// (arXiv 2601.04670) into what moving W does and what moving all below it does. In a tied model W is the
// input embedding too; both uses are in both formulas. The two modes are adjoint: ⟨g, ż⟩ = ⟨dθ, Δθ⟩.
//
// Sequences are run one at a time, so memory is that of the longest. Every call is cancelled at its
// checkpoints and reports progress in tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"
#include "ntk/functions.h"
#include "runtime/run.h"

namespace hf {

// Token sequences one after the other: sequence s owns ids[offsets[s]] … ids[offsets[s + 1] − 1].
struct Sequences {
  const int32_t* ids;
  const int32_t* offsets;  // (count + 1)
  int64_t count;

  int64_t tokens() const { return offsets[count]; }
  int64_t length(int64_t s) const { return offsets[s + 1] - offsets[s]; }
};

// One tensor per sequence, in the run's real type: (T, V) and (T, C). Empty where not wanted.
struct Outputs {
  std::vector<Tensor> logits, features;
};

enum class Want { kLogits, kFeatures, kBoth };

// z and φ themselves.
Outputs outputs(const Model& model, const Sequences& sequences, Want want, Run& run);

// Forward mode: ż and φ̇ along `tangent`, a flat vector in the model's layout (P).
Outputs jvp(const Model& model, const Sequences& sequences, const View& tangent, Run& run);

// Reverse mode with k cotangents on one shared forward pass. cotangents[s] is (k, T, V). One tensor for each
// wanted parameter, in the model's order, of shape (k, …the parameter's own).
std::vector<Tensor> vjp(const Model& model, const Sequences& sequences, const std::vector<View>& cotangents,
                        const std::vector<bool>& wanted, Run& run);
// ERR_SHAPE, in the name of `caller`, unless there is one cotangent (k, T, V) per sequence.
void check_cotangents(const char* caller, const Model& model, const Sequences& sequences,
                      const std::vector<View>& cotangents);

// Gradients of all functions over the wanted parameters, one row each: (F, width), in blocks of functions
// whose working memory stays within max_bytes.
Tensor per_sample_gradients(const Model& model, const Functions& functions, const std::vector<bool>& wanted,
                            int64_t max_bytes, Run& run);

// ERR_INVALID_ARG, in the name of `caller`, unless every index of the list is where it belongs.
void check_functions(const char* caller, const Functions& functions, const Model& model);

}  // namespace hf
