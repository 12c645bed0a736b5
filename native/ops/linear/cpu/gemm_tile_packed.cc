// Tiles of two packed operands, as floats or as pairs of bfloat16.
#include "ops/linear/cpu/gemm_tile.h"

namespace hf::HF_ISA {
namespace {

template <int R, bool kPairs>
HF_NOINLINE void multiply(int64_t depth, const float* HF_RESTRICT a, const float* HF_RESTRICT b,
                          const Tile& tile, Ahead& ahead) {
  Floats chain[R][2];
  tile.begin(chain);
  Ahead next = ahead;
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const Floats b0 = load(b + k * kTileColumns);
    const Floats b1 = load(b + k * kTileColumns + kLanes);
    prefetch_panel(b + k * kTileColumns);
    next.fetch();
    // The L1 cache loses some of A while B passes through it.
    __builtin_prefetch(a + k * R + 208);
    add_row<kPairs>(chain, a + k * R, b0, b1);
  }
  ahead = next;
  tile.finish(chain, 0);
}

template <int R = kTileRows>
HF_INLINE Packed choose(int64_t rows, bool pairs) {
  if constexpr (R > 1) {
    if (rows < R) return choose<R - 1>(rows, pairs);
  }
  return pairs && kHasPairs ? &multiply<R, kHasPairs> : &multiply<R, false>;
}

}  // namespace

Packed packed_kernel(int64_t rows, bool pairs) {
  return choose(rows, pairs);
}

}  // namespace hf::HF_ISA
