// Loops that the memory-bound ops share: along one row in vectors, and over blocks of rows in tasks.
#pragma once

#include "backends/cpu/simd.h"
#include "runtime/run.h"

// A loop body that must become part of its loop, however large it is.
#define HF_BODY __attribute__((always_inline))

namespace hf::HF_ISA {

// body(begin, count) for the vectors of [0, size): count is kLanes, and less in the last one. The body reads
// and writes with load_partial and store_partial.
template <class Body>
HF_INLINE void each_vector(int64_t size, const Body& body) {
  int64_t c = 0;
  for (; c + kLanes <= size; c += kLanes)
    body(c, int64_t{kLanes});
  if (c < size) body(c, size - c);
}

// body(begin, end) for blocks of rows, each block a task of about `grain` numbers. `grain` is what takes
// about 30 µs: less than that stays on the caller's thread. The blocks depend on the shape only.
template <class Body>
HF_INLINE void parallel_rows(Run& run, int64_t rows, int64_t columns, int64_t grain, const Body& body) {
  const int64_t wanted = grain / (columns > 0 ? columns : 1);
  const int64_t block = wanted > 0 ? wanted : 1;
  parallel_for(run, (rows + block - 1) / block, [&](int64_t task) {
    const int64_t begin = task * block;
    const int64_t end = begin + block;
    body(begin, end < rows ? end : rows);
  });
}

}  // namespace hf::HF_ISA
