// The planner's numbers, shared by plan and execution.
#pragma once

#include "core/view.h"
#include "model/spec.h"

namespace hf {

// Numbers that a stored set of gradient pairs holds per gradient row, all layers.
int64_t stored_numbers(const ModelSpec& spec);

// The ghost form reaches a smaller part of the machine's matmul rate than the blocked materialised form does (bench/results).
constexpr double kGhostRate = 0.80, kBlockedRate = 0.85;

}  // namespace hf
