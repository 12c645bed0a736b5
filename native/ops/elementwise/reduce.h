// Sums the rows of a matrix, for the gradients of biases, gains and positions.
//   y[c] (+)= Σ_n x[n,c] · scale_by[n,c]
//
// Fields:
//   x (N,C)            what is summed
//   scale_by (N,C)     optional factors, 1 if absent
//   y (C)              overwritten, or with `accumulate` added to
// Rows are summed in blocks of a size that depends on the shape only, so the bits are the same for any number
// of threads. x ∘ scale_by is never materialised. Nothing may alias. The op is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct ReduceArgs {
  View x, scale_by, y;
  bool accumulate = false;

  static constexpr const char* kName = "reduce";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C", kStored);
    f.in("scale_by", s.scale_by, "N C", kOptional | kStored);
    f.inout("y", s.y, "C");
    f.flag("accumulate", s.accumulate);
  }
};

inline Cost cost(const ReduceArgs& a) {
  return {(a.scale_by ? 2.0 : 1.0) * a.x.size(), (a.scale_by ? 8.0 : 4.0) * a.x.size()};
}

}  // namespace hf
