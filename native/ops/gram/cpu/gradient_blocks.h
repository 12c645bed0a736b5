// Blocks of per-sample gradients by packed products, shared by jacobian_gram and per_sample_linear.
#pragma once

#include "backends/cpu/pack.h"
#include "ops/gram/cpu/gram_pairs.h"
#include "ops/linear/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

// Rows of a function that are multiplied at a time: one depth block of the product.
constexpr int64_t kRowsAtOnce = kMaxDepth;

// Columns [o0, o0 + outputs) of d against [i0, i0 + inputs) of a.
struct BlockRange {
  int64_t o0;
  int64_t outputs;
  int64_t i0;
  int64_t inputs;
};

// g = Σ over function s of d ⊗ a in the range: (outputs, inputs), or with `swapped` (inputs, outputs).
// `packed` has cpu::pack_floats of the range's size.
HF_NOINLINE void gradient_of(const Rows& x, int64_t s, const BlockRange& range, bool swapped, float* packed,
                             float* g) {
  const int64_t begin = x.begin(s);
  const int64_t end = x.end(s);
  const int64_t rows = swapped ? range.inputs : range.outputs;
  const int64_t columns = swapped ? range.outputs : range.inputs;
  if (begin == end)
    for (int64_t i = 0; i < rows * columns; ++i)
      g[i] = 0;
  if (rows == 0 || columns == 0) return;
  float* const packed_columns = packed + (rows + 2 * kTileRows) * kRowsAtOnce;
  const int64_t height = panel_rows(rows);
  for (int64_t n = begin; n < end; n += kRowsAtOnce) {
    const int64_t count = least(end - n, kRowsAtOnce);
    const auto gradient_row = [&](int64_t k)
                                  __attribute__((always_inline)) { return x.gradient(n + k) + range.o0; };
    const auto input_row = [&](int64_t k)
                               __attribute__((always_inline)) { return x.input(n + k) + range.i0; };
    const auto pack = [&](const auto& row, int64_t numbers, bool as_columns) __attribute__((always_inline)) {
      const int64_t panel = as_columns ? kTileColumns : height;
      float* const to = as_columns ? packed_columns : packed;
      pack_rows(row, count, divide_up(numbers, panel), numbers, panel, to);
    };
    pack(gradient_row, range.outputs, swapped);
    pack(input_row, range.inputs, !swapped);
    multiply_packed(packed, packed_columns, rows, columns, count, 1, n > begin, g, columns);
  }
}

// sums[o] = Σ over function s of d[:, o0 + o].
HF_INLINE void gradient_sums(const Rows& x, int64_t s, int64_t o0, int64_t outputs, float* sums) {
  for (int64_t o = 0; o < outputs; ++o)
    sums[o] = 0;
  for (int64_t n = x.begin(s); n < x.end(s); ++n) {
    const float* const row = x.gradient(n) + o0;
    for (int64_t o = 0; o < outputs; ++o)
      sums[o] += row[o];
  }
}

}  // namespace
}  // namespace hf::HF_ISA
