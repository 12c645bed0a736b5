// Sizes of the scratch memory that CPU kernels take from a run's arena.
//
// A kernel that takes scratch has its sizes in ops/<family>/cpu/scratch.h, where two readers find them: the
// kernel, which allocates what is written there, and whoever plans memory before anything runs
// (scratch_bytes in ops/op_table.h). The sizes depend on shapes and on the number of threads only. Where a
// size follows from the width of a vector or the height of a register tile, it is that of the largest
// instruction set, so that one number holds for all of them.
#pragma once

#include <stdint.h>

#include "core/macros.h"
#include "core/view.h"

namespace hf::cpu {

constexpr int64_t kMostLanes = 16;        // float32 numbers in a vector
constexpr int64_t kMostTileRows = 14;     // of a register tile of op gemm
constexpr int64_t kMostTileColumns = 32;  // of the same tile

HF_INLINE int64_t divide_up(int64_t x, int64_t unit) {
  return (x + unit - 1) / unit;
}
HF_INLINE int64_t round_up(int64_t x, int64_t unit) {
  return divide_up(x, unit) * unit;
}
HF_INLINE int64_t least(int64_t x, int64_t y) {
  return x < y ? x : y;
}
HF_INLINE int64_t greatest(int64_t x, int64_t y) {
  return x > y ? x : y;
}

// Bytes of the arena that an allocation of `count` values takes up: whole lines of 64 bytes, at least one.
template <class Value>
HF_INLINE int64_t bytes_of(int64_t count) {
  return greatest(round_up(count * static_cast<int64_t>(sizeof(Value)), 64), 64);
}

}  // namespace hf::cpu
