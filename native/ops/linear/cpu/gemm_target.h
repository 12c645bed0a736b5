// Where a product of the gemm kernel goes, and what is added to it there.
#pragma once

#include "ops/linear/cpu/gemm_tile.h"

namespace hf::HF_ISA {
namespace {

// What the inner loops need of GemmArgs.
struct Target {
  float* c;
  int64_t row;  // between rows of c
  int64_t M;
  int64_t N;
  float alpha;
  bool accumulate;
  bool upper;             // only entries n ≥ m
  const float* bias;      // null or (N)
  const float* residual;  // null or (M,N)
  int64_t residual_row;

  // The tile of `height` rows and kTileColumns at (m, n): multiply(tile) runs a kernel into it. A tile that
  // lies in c as it is goes there directly; one that is cut off, crosses the diagonal or has an epilogue goes
  // through a buffer. first: the first depth block, which is the one with the epilogue.
  template <class Multiply>
  HF_INLINE void place(int64_t m, int64_t n, int64_t height, bool first, const Multiply& multiply) const {
    const int64_t rows = least(M - m, height);
    const int64_t columns = least(N - n, kTileColumns);
    if (upper && n + columns <= m) return;
    const bool is_whole = rows == height && columns == kTileColumns;
    const bool on_diagonal = upper && n < m + rows - 1;
    const bool has_epilogue = first && (bias || residual);
    if (is_whole && !on_diagonal && !has_epilogue) {
      multiply(Tile{c + m * row + n, row, alpha, first && !accumulate ? Leave::kStore : Leave::kAdd});
    } else {
      alignas(64) float chain[kTileRows * kTileColumns];
      multiply(Tile{chain, kTileColumns, 1, Leave::kChain});
      finish(chain, m, n, rows, columns, first);
    }
  }

  // c = alpha · chain + c, and on the first depth block the epilogue; chain (rows, kTileColumns).
  HF_NOINLINE void finish(const float* chain, int64_t m0, int64_t n0, int64_t rows, int64_t columns,
                          bool first) const {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; j += kLanes) {
        const int64_t m = m0 + i;
        const int64_t n = n0 + j;
        const int64_t count = columns - j;
        if (upper && n + (count < kLanes ? count : kLanes) <= m) continue;
        float* to = c + m * row + n;
        Floats base = first && !accumulate ? zero() : load_partial(to, count);
        if (first && bias) base += load_partial(bias + n, count);
        if (first && residual) base += load_partial(residual + m * residual_row + n, count);
        const Floats value = multiply_add(load(chain + i * kTileColumns + j), broadcast(alpha), base);
        if (upper && n < m) {
          for (int64_t lane = m - n; lane < kLanes && lane < count; ++lane)
            to[lane] = value[lane];
        } else {
          store_partial(to, value, count);
        }
      }
  }
};

}  // namespace
}  // namespace hf::HF_ISA
