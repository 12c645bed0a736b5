// How the Gram kernels cut their work. A pure function of shapes, so that results do not depend on the thread
// count, and shared by the CPU kernels and by workspace_bytes.
#pragma once

#include <stdint.h>

#include "core/macros.h"

namespace hf {

// Entries of per-sample gradients that are multiplied in float32 before they are added to a float64 entry of
// K.
constexpr int64_t kGramDepth = 1024;

// A block of outputs × inputs of every function's gradient that fits in max_bytes. Every block packs its
// columns of d and of a anew, d at twice the cost of a (narrow panels): the blocks are those that pack least,
// and of nearly equal size. Multiples of register tiles: 42 rows are whole ones of 6 and of 14.
struct GradientBlock {
  int64_t outputs, inputs;
};
HF_INLINE GradientBlock gradient_block(int64_t functions, int64_t outputs, int64_t inputs,
                                       int64_t max_bytes) {
  const int64_t entries = max_bytes / (4 * (functions > 0 ? functions : 1));
  const auto divide_up = [](int64_t a, int64_t b) { return b ? (a + b - 1) / b : 0; };
  GradientBlock best{outputs < 6 ? outputs : 6, inputs < 16 ? inputs : 16};
  int64_t least = INT64_MAX;
  for (int64_t pieces = 1; pieces <= divide_up(inputs, 16); ++pieces) {
    const int64_t width = divide_up(inputs, pieces), unit_columns = width < 32 ? 16 : 32;
    int64_t columns = divide_up(width, unit_columns) * unit_columns;
    if (columns > inputs) columns = inputs;
    const int64_t fit = entries / columns, unit = fit < 42 ? 6 : 42, room = fit / unit * unit;
    if (room < 6) continue;
    const int64_t cuts = divide_up(outputs, room);
    int64_t rows = divide_up(divide_up(outputs, cuts), unit) * unit;
    if (rows > outputs) rows = outputs;
    const int64_t cost = 2 * outputs * pieces + inputs * cuts;
    if (cost < least) least = cost, best = {rows, columns};
  }
  return best;
}

// op sketch: rows of d whose left factors, and columns of R, that exist at a time.
constexpr int64_t kSketchRows = 2048, kSketchColumns = 512;

}  // namespace hf
