// Inner products of rows: out[j · stride + i] = Σ_k x_i[k] y_j[k]. The Gram kernels' inner loop. Both
// operands are contiguous along k, so vectors run along k and nothing is packed or transposed; rows are given
// by pointers, so gathered rows cost nothing. A product's bits depend on its two rows only: one chain of
// fused multiply-adds per lane within kDepth, then a fixed tree over the lanes.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"

namespace hf::HF_ISA {
namespace {

constexpr int kProductRows = 4,
              kProductColumns = HF_VECTOR_BYTES == 64 ? 6 : 3;  // accumulators of one register tile
constexpr int64_t kTile = 96;  // rows of a tile of products: a multiple of both
constexpr int64_t kProductDepth = 512,
                  kProductBlock = 12;  // so many rows of y stay in the L1 cache while all of x passes,
constexpr int64_t kCopyFrom =
    48;  // copied together if so many rows of x use them: rows pages apart map to the same cache sets

using Four = float __attribute__((vector_size(16)));

// The sums of four vectors' lanes.
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

// One register tile over k < count: out (columns × 4) is set, or added to.
template <int Columns>
HF_NOINLINE void product_tile(const float* const* x, const float* const* y, int64_t count, bool add,
                              float* out, int64_t stride) {
  Floats chain[Columns][kProductRows];
#pragma GCC unroll 6
  for (int j = 0; j < Columns; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < kProductRows; ++i)
      chain[j][i] = zero();
  const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
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

template <int Columns = kProductColumns>
HF_INLINE void product_tile_of(int64_t columns, const float* const* x, const float* const* y, int64_t count,
                               bool add, float* out, int64_t stride) {
  if constexpr (Columns > 1) {
    if (columns < Columns) return product_tile_of<Columns - 1>(columns, x, y, count, add, out, stride);
  }
  product_tile<Columns>(x, y, count, add, out, stride);
}

// out[j · kTile + i] for i < nx, j < ny, both at most kTile; entries up to the next multiple of 4 in i are
// written too. first (optional, not decreasing): row i is wanted for j ≥ first[i] only.
[[maybe_unused]] HF_NOINLINE void row_products(const float* const* x, int64_t nx, const float* const* y,
                                               int64_t ny, int64_t depth, float* out,
                                               const int32_t* first = nullptr) {
  if (depth == 0) {
    for (int64_t i = 0; i < ny * kTile; ++i)
      out[i] = 0;
    return;
  }
  alignas(64) float block[kProductBlock * kProductDepth];
  const bool copied = nx > kCopyFrom;
  for (int64_t k = 0; k < depth; k += kProductDepth) {
    const int64_t count = depth - k < kProductDepth ? depth - k : kProductDepth;
    for (int64_t j0 = 0; j0 < ny; j0 += kProductBlock) {
      const int64_t j1 = j0 + kProductBlock < ny ? j0 + kProductBlock : ny;
      const float* columns[kProductBlock];
      for (int64_t j = j0; j < j1; ++j) {
        columns[j - j0] = y[j] + k;
        if (!copied) continue;
        float* const to = block + (j - j0) * kProductDepth;
        columns[j - j0] = to;
        for (int64_t c = 0; c < count; c += kLanes)
          store_partial(to + c, load_partial(y[j] + k + c, count - c), count - c);
      }
      for (int64_t i = 0; i < nx; i += kProductRows) {
        if (first && first[i] >= j1) break;
        const float* rows[kProductRows];
        for (int r = 0; r < kProductRows; ++r)
          rows[r] = x[i + r < nx ? i + r : nx - 1] + k;
        for (int64_t j = j0; j < j1; j += kProductColumns) {
          if (first && first[i] >= j + kProductColumns) continue;
          product_tile_of(j1 - j < kProductColumns ? j1 - j : kProductColumns, rows, columns + (j - j0),
                          count, k > 0, out + j * kTile + i, kTile);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hf::HF_ISA
