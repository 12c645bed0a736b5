// How the Gram kernels cut their work. A pure function of shapes, so that results do not depend on the thread count, and shared by the CPU
// kernels and by workspace_bytes.
#pragma once

#include <stdint.h>

#include "core/macros.h"

namespace hf {

// Entries of per-sample gradients that are multiplied in float32 before they are added to a float64 entry of K.
constexpr int64_t kGramDepth = 1024;

// A block of outputs × inputs of every function's gradient that fits in max_bytes, as square as it can be: packing and traffic grow with
// 1/outputs + 1/inputs. Multiples of a register tile (6 × 16) where the layer is larger.
struct GradientBlock { int64_t outputs, inputs; };
HF_INLINE GradientBlock gradient_block(int64_t functions, int64_t outputs, int64_t inputs, int64_t max_bytes) {
  const int64_t entries = max_bytes / (4 * (functions > 0 ? functions : 1));
  int64_t side = 16;
  while ((side + 16) * (side + 16) <= entries) side += 16;
  const auto round_up = [](int64_t x, int64_t to) { return (x + to - 1) / to * to; };
  GradientBlock block{side, side};
  if (block.outputs >= outputs) block.outputs = outputs, block.inputs = entries / (outputs > 0 ? outputs : 1) / 16 * 16;
  if (block.inputs < 16) block.inputs = 16;
  if (block.inputs >= inputs) {
    block.inputs = inputs;
    if (block.outputs < outputs) block.outputs = entries / round_up(inputs > 0 ? inputs : 1, 16) / 6 * 6;
  }
  if (block.outputs < 6) block.outputs = 6;
  if (block.outputs > outputs) block.outputs = outputs;
  return block;
}

}  // namespace hf
