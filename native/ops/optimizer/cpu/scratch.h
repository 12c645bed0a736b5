// Scratch memory of the optimizer kernels (backends/cpu/scratch.h): sum_of_squares has partial sums.
#pragma once

#include "backends/cpu/scratch.h"
#include "ops/optimizer/sum_of_squares.h"

namespace hf::cpu {

constexpr int64_t kSquaresBlock = 1 << 16;  // numbers squared in about 30 µs

HF_INLINE int64_t square_blocks(const SumOfSquaresArgs& a) {
  return divide_up(a.x.shape[0], kSquaresBlock);
}
HF_INLINE int64_t scratch_bytes(const SumOfSquaresArgs& a, int64_t) {
  return bytes_of<double>(square_blocks(a));
}

}  // namespace hf::cpu
