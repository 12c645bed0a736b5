// Scratch memory of op sketch (backends/cpu/scratch.h): a block of the random matrix, and both projections.
#pragma once

#include "ops/linear/cpu/scratch.h"
#include "ops/sketch/sketch.h"

namespace hf::cpu {

struct SketchSizes {
  static constexpr int64_t kRows = 2048;  // of d whose left factors exist at a time

  int64_t left;   // numbers of the left factors of all repeats
  int64_t right;  // and of the right factors
  int64_t rows;   // of d at a time
  int64_t a_rows;

  HF_INLINE explicit SketchSizes(const SketchArgs& a)
      : left(a.sketches.shape[1] * a.left),
        right(a.sketches.shape[1] * (a.sketches.shape[2] / a.left)),
        rows(least(sketch_rows(a), kRows)),
        a_rows(a.a ? a.a.shape[0] : 1) {}

  HF_INLINE int64_t block() const { return kSketchColumns * greatest(left, right); }
  HF_INLINE int64_t right_factors() const { return a_rows * right; }
  HF_INLINE int64_t left_factors() const { return rows * left; }
};

HF_INLINE int64_t scratch_bytes(const SketchArgs& a, int64_t) {
  if (sketch_rows(a) == 0) return 0;
  const SketchSizes sizes(a);
  const int64_t products = greatest(gemm_scratch_bytes(sizes.a_rows, kSketchColumns),
                                    gemm_scratch_bytes(sizes.rows, kSketchColumns));
  return bytes_of<float>(sizes.block()) + bytes_of<float>(sizes.right_factors()) +
         bytes_of<float>(sizes.left_factors()) + products;
}

}  // namespace hf::cpu
