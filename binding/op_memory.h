// Where an op's operands lie: what of the caller's memory a call touches, and copies of it on a device.
#pragma once

#include <vector>

#include "env.h"
#include "op.h"

namespace hf::binding {

// The memory that a call reads and writes, operand by operand.
std::vector<Lease::Range> ranges_of(OpArgs& args);

// Copies everything but indices to the run's device, so that a timing has no transfers in it.
void move_to_device(OpArgs& args, Run& run);

}  // namespace hf::binding
