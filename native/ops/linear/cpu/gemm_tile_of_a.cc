// Tiles that read A as it lies and leave its panel packed.
#include "ops/linear/cpu/gemm_tile.h"

namespace hf::HF_ISA {
namespace {

template <int R, bool kAlongK>
HF_NOINLINE void multiply(int64_t depth, const float* HF_RESTRICT a, int64_t step, float* HF_RESTRICT packed,
                          const float* HF_RESTRICT b, const Tile& tile) {
  Floats chain[R][2];
  tile.begin(chain);
  // There are no registers for R addresses. One base serves kReach rows: + 0, + step, + 2 steps.
  constexpr int kReach = 3;
  const float* base[(R + kReach - 1) / kReach];
#pragma GCC unroll 8
  for (int i = 0; i < R; i += kReach)
    base[i / kReach] = a + i * step;
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const Floats b0 = load(b + k * kTileColumns);
    const Floats b1 = load(b + k * kTileColumns + kLanes);
    prefetch_panel(b + k * kTileColumns);
    if constexpr (kAlongK) {
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        Floats x = broadcast(base[i / kReach][i % kReach * step]);
        pin(x);
        packed[k * R + i] = x[0];
        chain[i][0] = multiply_add(x, b0, chain[i][0]);
        chain[i][1] = multiply_add(x, b1, chain[i][1]);
      }
#pragma GCC unroll 8
      for (int i = 0; i < R; i += kReach)
        ++base[i / kReach];
    } else {
      const float* const column = a + k * step;
      __builtin_prefetch(column + 4 * step);
      add_row(chain, column, b0, b1);
#pragma GCC unroll 16
      for (int i = 0; i < R; i += kLanes)
        store_partial(packed + k * R + i, load_partial(column + i, R - i), R - i);
    }
  }
  tile.finish(chain, 0);
}

template <bool kAlongK, int R = kTileRows>
HF_INLINE OfA choose(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return choose<kAlongK, R - 1>(rows);
  }
  return &multiply<R, kAlongK>;
}

}  // namespace

OfA kernel_of_a(int64_t rows, bool along_k) {
  return along_k ? choose<true>(rows) : choose<false>(rows);
}

}  // namespace hf::HF_ISA
