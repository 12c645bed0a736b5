// Sums of gradients, Jᵀ v, and derivatives along a vector, J t, without any matrix of either.
#pragma once

#include "ntk/functions.h"

namespace hf {

// Adds Σ_f ∇f of the block's functions to a flat vector in the model's layout (P), for wanted parameters.
// What scale() multiplied the functions by is in it.
void add_gradients(const FunctionBlock& block, const std::vector<bool>& wanted, const View& gradient);

// K v without K: J₁ (J₂ᵀ v).  v (F2), out (F1) float64.
void vector_product(const Model& model, const Functions& first, const Functions& second, const View& v,
                    const std::vector<bool>& wanted, int64_t max_bytes, const View& out, Run& run);
// values (F) f(θ) and derivatives (F) J t along a flat tangent (P), float64; either may be absent.
void linear_model(const Model& model, const Functions& functions, const View& tangent, int64_t max_bytes,
                  const View& values, const View& derivatives, Run& run);

}  // namespace hf
