// Inner products of rows, the inner loop of the Gram kernels: out[j · stride + i] = Σ_k x_i[k] y_j[k].
//
// Both operands are contiguous along k, so vectors run along k and nothing is packed or transposed. Rows are
// given by pointers, so gathered rows cost nothing. A product's bits depend on its two rows only: one chain
// of fused multiply-adds per lane within kProductDepth numbers, then a fixed tree over the lanes.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"

namespace hf::HF_ISA {
namespace {

// Accumulators of one register tile: kProductRows rows of x times kProductColumns rows of y.
constexpr int kProductRows = 4;
constexpr int kProductColumns = HF_VECTOR_BYTES == 64 ? 6 : 3;
constexpr int64_t kTile = 96;  // rows of a tile of products: a multiple of both
// Pieces of kProductBlock rows of y, kProductDepth numbers long, stay in the L1 cache while all of x passes.
constexpr int64_t kProductDepth = 512;
constexpr int64_t kProductBlock = 12;
// They are copied together if more rows of x than this use them: rows that are pages apart map to the same
// sets of the cache.
constexpr int64_t kCopyFrom = 48;

using Four = float __attribute__((vector_size(16)));

// The sums of the lanes of four vectors.
HF_INLINE Four sums(Floats a, Floats b, Floats c, Floats d) {
  Four quarter[4];
  const Floats v[4] = {a, b, c, d};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    Four pieces[kLanes / 4];
    __builtin_memcpy(pieces, &v[i], sizeof v[i]);
#if HF_VECTOR_BYTES == 16
    quarter[i] = pieces[0];
#elif HF_VECTOR_BYTES == 32
    quarter[i] = pieces[0] + pieces[1];
#else
    quarter[i] = (pieces[0] + pieces[2]) + (pieces[1] + pieces[3]);
#endif
  }
  const Four ab = __builtin_shufflevector(quarter[0], quarter[1], 0, 4, 1, 5) +
                  __builtin_shufflevector(quarter[0], quarter[1], 2, 6, 3, 7);
  const Four cd = __builtin_shufflevector(quarter[2], quarter[3], 0, 4, 1, 5) +
                  __builtin_shufflevector(quarter[2], quarter[3], 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

// One register tile over k < count: out (columns × 4) is set, or added to. The four rows of x are variables
// of their own, so that they stay in registers.
template <int Columns>
HF_NOINLINE void product_tile(const float* const* x, const float* const* y, int64_t count, bool add,
                              float* out, int64_t stride) {
  Floats chain[Columns][kProductRows];
#pragma GCC unroll 6
  for (int j = 0; j < Columns; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < kProductRows; ++i)
      chain[j][i] = zero();
  const float* x0 = x[0];
  const float* x1 = x[1];
  const float* x2 = x[2];
  const float* x3 = x[3];
  const float* rows[Columns];
  for (int j = 0; j < Columns; ++j)
    rows[j] = y[j];
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    Floats b[Columns];
#pragma GCC unroll 6
    for (int j = 0; j < Columns; ++j)
      b[j] = load(rows[j] + k);
    const float* const source[kProductRows] = {x0, x1, x2, x3};
#pragma GCC unroll 4
    for (int i = 0; i < kProductRows; ++i) {
      const Floats a = load(source[i] + k);
#pragma GCC unroll 6
      for (int j = 0; j < Columns; ++j)
        chain[j][i] = a * b[j] + chain[j][i];
    }
  }
  if (k < count) {
    const float* const source[kProductRows] = {x0, x1, x2, x3};
#pragma GCC unroll 4
    for (int i = 0; i < kProductRows; ++i) {
      const Floats a = load_partial(source[i] + k, count - k);
#pragma GCC unroll 6
      for (int j = 0; j < Columns; ++j)
        chain[j][i] = a * load_partial(rows[j] + k, count - k) + chain[j][i];
    }
  }
#pragma GCC unroll 6
  for (int j = 0; j < Columns; ++j) {
    Four value = sums(chain[j][0], chain[j][1], chain[j][2], chain[j][3]);
    if (add) value += load_as<Four>(out + j * stride);
    store_as(out + j * stride, value);
  }
}

// The register tile of that many columns.
template <int Columns = kProductColumns>
HF_INLINE void product_tile_of(int64_t columns, const float* const* x, const float* const* y, int64_t count,
                               bool add, float* out, int64_t stride) {
  if constexpr (Columns > 1) {
    if (columns < Columns) return product_tile_of<Columns - 1>(columns, x, y, count, add, out, stride);
  }
  product_tile<Columns>(x, y, count, add, out, stride);
}

// block (kProductBlock, kProductDepth) = `count` numbers of the rows, which point into it afterwards.
HF_INLINE void copy_together(const float** rows, int64_t number, int64_t count, float* block) {
  for (int64_t j = 0; j < number; ++j) {
    float* const to = block + j * kProductDepth;
    for (int64_t k = 0; k < count; k += kLanes)
      store_partial(to + k, load_partial(rows[j] + k, count - k), count - k);
    rows[j] = to;
  }
}

// out[j · kTile + i] = ⟨x_i, y_j⟩ for i < nx and j < ny, both at most kTile. Entries up to the next multiple
// of 4 in i are written too. first (optional, not decreasing): row i is wanted for j ≥ first[i] only.
[[maybe_unused]] HF_NOINLINE void row_products(const float* const* x, int64_t nx, const float* const* y,
                                               int64_t ny, int64_t depth, float* out,
                                               const int32_t* first = nullptr) {
  if (depth == 0) {
    for (int64_t i = 0; i < ny * kTile; ++i)
      out[i] = 0;
    return;
  }
  alignas(64) float block[kProductBlock * kProductDepth];
  for (int64_t k = 0; k < depth; k += kProductDepth) {
    const int64_t count = depth - k < kProductDepth ? depth - k : kProductDepth;
    for (int64_t j0 = 0; j0 < ny; j0 += kProductBlock) {
      const int64_t j1 = j0 + kProductBlock < ny ? j0 + kProductBlock : ny;
      const float* columns[kProductBlock];
      for (int64_t j = j0; j < j1; ++j)
        columns[j - j0] = y[j] + k;
      if (nx > kCopyFrom) copy_together(columns, j1 - j0, count, block);
      for (int64_t i = 0; i < nx; i += kProductRows) {
        if (first && first[i] >= j1) break;
        const float* rows[kProductRows];
        for (int r = 0; r < kProductRows; ++r)
          rows[r] = x[i + r < nx ? i + r : nx - 1] + k;
        for (int64_t j = j0; j < j1; j += kProductColumns) {
          if (first && first[i] >= j + kProductColumns) continue;
          const int64_t width = j1 - j < kProductColumns ? j1 - j : kProductColumns;
          product_tile_of(width, rows, columns + (j - j0), count, k > 0, out + j * kTile + i, kTile);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hf::HF_ISA
