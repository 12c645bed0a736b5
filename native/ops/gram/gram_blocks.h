// How the Gram kernels of every backend cut their work: pure functions of shapes, so that results do not
// depend on the thread count.
#pragma once

#include <stdint.h>

#include "core/macros.h"

namespace hf {

// Entries of per-sample gradients that are multiplied in float32 before they are added to a float64 entry of
// K.
constexpr int64_t kGramDepth = 1024;

// A block of outputs × inputs of every function's gradient that fits in max_bytes.
struct GradientBlock {
  int64_t outputs;
  int64_t inputs;
};

// Every block packs its columns of d and of a anew, d at twice the cost of a (narrow panels): the blocks are
// those that pack least, and of nearly equal size. They are multiples of register tiles: 42 rows are whole
// ones of 6 and of 14. At least one block of 6 × 16 is held, whatever max_bytes says.
HF_INLINE GradientBlock gradient_block(int64_t functions, int64_t outputs, int64_t inputs,
                                       int64_t max_bytes) {
  const auto divide_up = [](int64_t x, int64_t unit) { return (x + unit - 1) / unit; };
  const auto least = [](int64_t x, int64_t y) { return x < y ? x : y; };
  if (outputs == 0) return {0, inputs};
  const int64_t entries = max_bytes / (4 * (functions > 0 ? functions : 1));
  GradientBlock best{least(outputs, 6), least(inputs, 16)};
  int64_t least_cost = INT64_MAX;
  for (int64_t pieces = 1; pieces <= divide_up(inputs, 16); ++pieces) {
    const int64_t width = divide_up(inputs, pieces);
    const int64_t unit_columns = width < 32 ? 16 : 32;
    const int64_t columns = least(divide_up(width, unit_columns) * unit_columns, inputs);
    const int64_t rows_that_fit = entries / columns;
    const int64_t unit = rows_that_fit < 42 ? 6 : 42;
    const int64_t room = rows_that_fit / unit * unit;
    if (room < 6) continue;
    const int64_t cuts = divide_up(outputs, room);
    const int64_t rows = least(divide_up(divide_up(outputs, cuts), unit) * unit, outputs);
    const int64_t cost = 2 * outputs * pieces + inputs * cuts;
    if (cost >= least_cost) continue;
    least_cost = cost;
    best = {rows, columns};
  }
  return best;
}

}  // namespace hf
