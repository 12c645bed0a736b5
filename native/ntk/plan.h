// The planner's numbers, shared by plan and execution.
#pragma once

#include "core/view.h"
#include "model/spec.h"

namespace hf {

// Numbers that a stored set of gradient pairs holds per gradient row, all layers.
int64_t stored_numbers(const ModelSpec& spec);

}  // namespace hf
