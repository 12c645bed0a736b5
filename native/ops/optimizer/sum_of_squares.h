// Sums the squares of all numbers: the gradient norm that clipping needs.
//   y[0] (+)= Σ_p x[p]²
// x (P) in the run's real type; y (1) and the sums in float64. y is overwritten, or with `accumulate` added
// to. Blocks of fixed size are summed, so the bits are the same for any number of threads. The op is bound by
// memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct SumOfSquaresArgs {
  View x, y;
  bool accumulate = false;

  static constexpr const char* kName = "sum_of_squares";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "P");
    f.inout("y", s.y, "1", kDouble);
    f.flag("accumulate", s.accumulate);
  }
};

inline Cost cost(const SumOfSquaresArgs& a) {
  return {2.0 * a.x.size(), 4.0 * a.x.size()};
}

}  // namespace hf
