// The planner's numbers, shared by plan and execution.
#pragma once

#include "kernels/jacobian_gram.h"
#include "kernels/token_gram.h"
#include "model/spec.h"
#include "ntk/gram.h"

namespace hf {

// Numbers that a stored set of gradient pairs holds per gradient row, all layers.
int64_t stored_numbers(const ModelSpec& spec);

// The planner's choice for one matrix, by FLOPs over the rate that each form reaches.
inline bool ghost_is_cheaper(const TokenGramArgs& ghost, const JacobianGramArgs& blocked) {
  return cost(ghost).flops / relative_rate(ghost) <= cost(blocked).flops / relative_rate(blocked);
}

// Fills in a plan's flops and choices.
void add_costs(const Model& model, const Functions& first, const Functions* second, const GramOptions& options, GramPlan& plan);

}  // namespace hf
