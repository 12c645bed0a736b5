// Copies rows of heads that may each be apart: heads out of a fused tensor into packed rows and back, slices
// into results.
//   y[n,h,:] = x[n,h,:]
// x, y (N,H,D): rows and heads may be apart, the last dimension is contiguous. y is overwritten and may not
// alias x. The op is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct CopyArgs {
  View x, y;

  static constexpr const char* kName = "copy";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N H D", kStored);
    f.out("y", s.y, "N H D", kStored);
  }
};

inline Cost cost(const CopyArgs& a) {
  return {0, 8.0 * a.x.size()};
}

}  // namespace hf
