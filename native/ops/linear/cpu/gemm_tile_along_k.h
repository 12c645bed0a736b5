// Tiles that read B as it lies, columns along k, transpose it in registers and leave its panel packed.
// Float32 and bfloat16 are compiled in two files, because each takes seconds.
#pragma once

#include "ops/linear/cpu/gemm_tile.h"

namespace hf::HF_ISA {
namespace {

template <int R, class Element>
HF_NOINLINE void multiply(int64_t depth, const float* HF_RESTRICT a, const Element* HF_RESTRICT b,
                          int64_t step_n, float* HF_RESTRICT packed, const Tile& tile, int64_t turn) {
  constexpr int kHalves = halves(R);
#pragma GCC unroll 2
  for (int first = 0; first < 2; first += kHalves) {
    Floats chain[R][kHalves];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h)
        chain[i][h] = zero();
    int64_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      const int64_t ahead = kAhead<Element> + (k + kAhead<Element> < depth ? 0 : turn);
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        Floats square[kLanes];
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j) {
          const Element* from = b + ((first + h) * kLanes + j) * step_n + k;
          square[j] = fetch(from);
          __builtin_prefetch(from + kLanes);
          __builtin_prefetch(from + ahead, 0, 2);
        }
        transpose(square);
        if (packed) {
#pragma GCC unroll 16
          for (int j = 0; j < kLanes; ++j)
            store(packed + (k + j) * kTileColumns + (first + h) * kLanes, square[j]);
        }
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j)
#pragma GCC unroll 16
          for (int i = 0; i < R; ++i)
            chain[i][h] = multiply_add(broadcast(a[(k + j) * R + i]), square[j], chain[i][h]);
      }
    }
    for (; k < depth; ++k)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        const Element* const from = b + (first + h) * kLanes * step_n + k;
        alignas(64) float line[kLanes];
        for (int j = 0; j < kLanes; ++j)
          line[j] = fetch_one(from + j * step_n);
        const Floats x = load(line);
        if (packed) store(packed + k * kTileColumns + (first + h) * kLanes, x);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i)
          chain[i][h] = multiply_add(broadcast(a[k * R + i]), x, chain[i][h]);
      }
    tile.finish(chain, first);
  }
}

template <class Element, int R = kTileRows>
HF_INLINE AlongK<Element> choose_along_k(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return choose_along_k<Element, R - 1>(rows);
  }
  return &multiply<R, Element>;
}

}  // namespace
}  // namespace hf::HF_ISA
