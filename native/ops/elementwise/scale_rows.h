// Multiplies each row of a matrix by a number of its own, in place.
//   x[n,:] ← scale[n] · x[n,:]
// x (N,C) is updated, scale (N) may not alias it. The op is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct ScaleRowsArgs {
  View x, scale;

  static constexpr const char* kName = "scale_rows";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.inout("x", s.x, "N C");
    f.in("scale", s.scale, "N");
  }
};

inline Cost cost(const ScaleRowsArgs& a) {
  return {double(a.x.size()), 8.0 * a.x.size()};
}

}  // namespace hf
