// Multiplies two matrices row by row: values and derivatives of functions from rows of gradients.
//   y[n] (+)= Σ_c x[n,c] w[n,c]
// x, w (N,C) in the run's real type; y (N) and the sums in float64. y is overwritten, or with `accumulate`
// added to. Nothing may alias. The op is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct RowDotArgs {
  View x, w, y;
  bool accumulate = false;

  static constexpr const char* kName = "row_dot";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C");
    f.in("w", s.w, "N C");
    f.inout("y", s.y, "N", kDouble);
    f.flag("accumulate", s.accumulate);
  }
};

inline Cost cost(const RowDotArgs& a) {
  return {2.0 * a.x.size(), 8.0 * a.x.size()};
}

}  // namespace hf
