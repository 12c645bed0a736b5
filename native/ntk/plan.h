// The planner's numbers, shared by plan and execution.
#pragma once

#include <algorithm>

#include "ntk/gram.h"
#include "ops/gram/jacobian_gram.h"
#include "ops/gram/token_gram.h"

namespace hf {

// Working memory for blocks of per-sample gradients (jacobian_gram's max_bytes). On the CPU they fit in its
// caches, and count as nothing.
inline int64_t gradient_block_bytes(bool device, int64_t max_bytes) {
  return device ? std::clamp<int64_t>(max_bytes / 16, 1, int64_t{256} << 20) : JacobianGramArgs{}.max_bytes;
}

// The planner's choice for one matrix, by FLOPs over the rate that each form reaches.
inline bool ghost_is_cheaper(const TokenGramArgs& ghost, const JacobianGramArgs& blocked) {
  return cost(ghost).flops / relative_rate(ghost) <= cost(blocked).flops / relative_rate(blocked);
}

// Fills in a plan's flops and choices.
void add_costs(const Model& model, const Functions& first, const Functions* second,
               const GramOptions& options, GramPlan& plan);

}  // namespace hf
