// Scratch memory of the elementwise kernels (backends/cpu/scratch.h): op reduce has partial sums.
#pragma once

#include "backends/cpu/scratch.h"
#include "ops/elementwise/reduce.h"

namespace hf::cpu {

// Op reduce sums blocks of rows; each block has a row of partial sums.
struct ReduceBlocks {
  static constexpr int64_t kGrain = 1 << 17;  // numbers summed in about 30 µs
  static constexpr int64_t kRows = 8;         // rows added at a time

  int64_t rows;  // of a block, a multiple of kRows
  int64_t count;
  int64_t columns;

  HF_INLINE explicit ReduceBlocks(const ReduceArgs& a) : columns(a.x.shape[1]) {
    const int64_t wanted = kGrain / greatest(columns, 1) / kRows * kRows;
    rows = greatest(wanted, kRows);
    count = divide_up(a.x.shape[0], rows);
  }

  HF_INLINE int64_t floats() const { return count * columns; }
};

HF_INLINE int64_t scratch_bytes(const ReduceArgs& a, int64_t) {
  return bytes_of<float>(ReduceBlocks(a).floats());
}

}  // namespace hf::cpu
