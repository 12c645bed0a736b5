// Tiles that read B as it lies, rows along n, and leave its panel packed.
#include "ops/linear/cpu/gemm_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kRowsAhead = 8;  // of B along n, that are fetched ahead of the one that is multiplied

template <int R>
HF_NOINLINE void multiply(int64_t depth, const float* HF_RESTRICT a, const float* HF_RESTRICT b,
                          int64_t step_k, float* HF_RESTRICT packed, const Tile& tile, Ahead& ahead) {
  Floats chain[R][2];
  tile.begin(chain);
  // Past the last row comes the next panel's first.
  const float* coming = b + least(kRowsAhead, depth) * step_k;
  const int64_t wrap = depth - kRowsAhead;
  const float* const next_panel = b + kTileColumns;
  Ahead next = ahead;
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; ++k) {
    if (k == wrap) coming = next_panel;
    __builtin_prefetch(coming);
    __builtin_prefetch(coming + kTileColumns / 2);
    coming += step_k;
    const Floats b0 = load(b);
    const Floats b1 = load(b + kLanes);
    b += step_k;
    if (packed) {
      store(packed + k * kTileColumns, b0);
      store(packed + k * kTileColumns + kLanes, b1);
    }
    next.fetch();
    next.fetch();
    add_row(chain, a + k * R, b0, b1);
  }
  ahead = next;
  tile.finish(chain, 0);
}

template <int R = kTileRows>
HF_INLINE AlongN choose(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return choose<R - 1>(rows);
  }
  return &multiply<R>;
}

}  // namespace

AlongN kernel_along_n(int64_t rows) {
  return choose(rows);
}

}  // namespace hf::HF_ISA
