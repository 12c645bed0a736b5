// Sums the rows of each function: the per-sample gradients of biases, gains and other elementwise parameters.
//   y[s,c] (+)= Σ_{n ∈ s} x[n,c] · scale_by[r_n,c]    with r_n = scale_rows[n], or n if that is absent
//
// Fields:
//   x (N,C)            what is summed; for a norm's gain it is d_y
//   offsets (S+1)      function s owns rows offsets[s] … offsets[s+1] − 1 (ops/gram/gradient_pairs.h)
//   scale_by (M,C)     optional factors, 1 if absent; for a norm's gain the normalised input
//   scale_rows (N)     optional: functions of one forward pass share the rows of scale_by
//   y (S,C)            overwritten, or with `accumulate` added to; 0 for a function without rows
// y may be a slice of the columns of an (S,P) matrix. The Gram matrix of y's rows is op token_gram without a.
// x ∘ scale_by is never materialised. Nothing may alias. The op is bound by memory: it reads x and scale_by
// once.
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct SegmentReduceArgs {
  View x, offsets, scale_by, scale_rows, y;
  bool accumulate = false;

  static constexpr const char* kName = "segment_reduce";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C", kStored);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("scale_by", s.scale_by, "M C", kOptional | kStored);
    f.in("scale_rows", s.scale_rows, "N", kOptional | kIndices);
    f.inout("y", s.y, "S C");
    f.flag("accumulate", s.accumulate);
  }
};

inline void check_args(const SegmentReduceArgs& a) {
  check_offsets("segment_reduce", "offsets", a.offsets, a.x.shape[0]);
  check_source_rows("segment_reduce", "scale_by", "scale_rows", a.scale_by, a.scale_rows, a.x.shape[0]);
}
inline Cost cost(const SegmentReduceArgs& a) {
  return {(a.scale_by ? 2.0 : 1.0) * a.x.size(),
          4.0 * ((a.scale_by ? 2.0 : 1.0) * a.x.size() + a.y.size() * (1 + a.accumulate))};
}

}  // namespace hf
