// Blocks of per-sample gradients by packed products, shared by jacobian_gram and per_sample_linear.
#pragma once

#include "cpu/gemm.h"
#include "cpu/gram_pairs.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kRowsAtOnce = kMaxDepth;

// Rows row(0) … row(depth − 1) of `count` numbers as the packed panels of cpu/gemm.h, one depth block. Rows may be pages apart and panels
// map to the same cache sets, so a few rows at a time go through all panels while the next ones are fetched. A panel narrower than a
// vector takes whole vectors, of which the next row overwrites what is too much.
template <class Row>
HF_INLINE void pack_rows(const Row& row, int64_t depth, int64_t count, int64_t width, float* out) {
  constexpr int64_t kRows = 8;
  for (int64_t k0 = 0; k0 < depth; k0 += kRows) {
    const int64_t rows = depth - k0 < kRows ? depth - k0 : kRows;
    const float* from[kRows];
    for (int64_t k = 0; k < rows; ++k) from[k] = row(k0 + k);
    for (int64_t k = k0 + kRows; k < depth && k < k0 + 2 * kRows; ++k)
      for (int64_t c = 0; c < count; c += 16) __builtin_prefetch(row(k) + c);
    float* to = out + k0 * width;
    for (int64_t c = 0; c < count; c += width, to += depth * width) {
      if (width == kTileColumns && c + width <= count) {
        for (int64_t k = 0; k < rows; ++k) {
          store(to + k * width, load(from[k] + c));
          store(to + k * width + kLanes, load(from[k] + c + kLanes));
        }
      } else if (width <= kLanes && c + kLanes <= count && k0 + kRows + 1 < depth) {
        for (int64_t k = 0; k < rows; ++k) store(to + k * width, load(from[k] + c));
      } else {
        for (int64_t k = 0; k < rows; ++k)
          for (int64_t w = 0; w < width; w += kLanes)
            store_partial(to + k * width + w, w < count - c ? load_partial(from[k] + c + w, count - c - w) : zero(), width - w);
      }
    }
  }
}

// Columns [o0, o0 + outputs) of d against [i0, i0 + inputs) of a.
struct BlockRange { int64_t o0, outputs, i0, inputs; };

// Floats of packed operands that gradient_of needs for blocks up to outputs × inputs, either way round.
HF_INLINE int64_t pack_floats(int64_t outputs, int64_t inputs) {
  return (outputs + inputs + 2 * kTileRows + 2 * kTileColumns) * kRowsAtOnce;  // a smaller block may have wider panels
}

// g = Σ over function s of d ⊗ a in the range: (outputs, inputs), or with `swapped` (inputs, outputs).
HF_NOINLINE void gradient_of(const Rows& x, int64_t s, const BlockRange& range, bool swapped, float* packed, float* g) {
  const int64_t begin = x.begin(s), end = x.end(s), rows = swapped ? range.inputs : range.outputs, columns = swapped ? range.outputs : range.inputs;
  if (begin == end)
    for (int64_t i = 0; i < rows * columns; ++i) g[i] = 0;
  if (rows == 0 || columns == 0) return;
  float* const packed_columns = packed + (rows + 2 * kTileRows) * kRowsAtOnce;
  const int64_t height = panel_rows(rows), width = kTileColumns;
  for (int64_t n = begin; n < end; n += kRowsAtOnce) {
    const int64_t count = end - n < kRowsAtOnce ? end - n : kRowsAtOnce;
    const auto gradient_row = [&](int64_t k) __attribute__((always_inline)) { return x.gradient(n + k) + range.o0; };
    const auto input_row = [&](int64_t k) __attribute__((always_inline)) { return x.input(n + k) + range.i0; };
    pack_rows(gradient_row, count, range.outputs, swapped ? width : height, swapped ? packed_columns : packed);
    pack_rows(input_row, count, range.inputs, swapped ? height : width, swapped ? packed : packed_columns);
    multiply_packed(packed, packed_columns, rows, columns, count, 1, n > begin, g, columns);
  }
}

// sums[o] = Σ over function s of d[:, o0 + o].
HF_INLINE void gradient_sums(const Rows& x, int64_t s, int64_t o0, int64_t outputs, float* sums) {
  for (int64_t o = 0; o < outputs; ++o) sums[o] = 0;
  for (int64_t n = x.begin(s); n < x.end(s); ++n) {
    const float* const row = x.gradient(n) + o0;
    for (int64_t o = 0; o < outputs; ++o) sums[o] += row[o];
  }
}

}  // namespace
}  // namespace hf::HF_ISA
