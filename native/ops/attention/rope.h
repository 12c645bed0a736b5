// Rotary position embedding (Su et al. 2021), in place on heads of a strided tensor. x (N,H,D): the first 2·F
// of the D dimensions are rotated, the rest pass through (partial rotary). Pair i is (x[i], x[i+F]), the
// "half" layout of Hugging Face checkpoints. Angle = positions[n] · inv_freq[i], computed in float64;
// frequency scaling (linear, llama3, …) is the caller's: it arrives as inv_freq, with attention scaling
// folded into `scale`.
//   y = scale · rotate(x, angle);   inverse = true rotates by −angle, which is both the backward pass and the transpose.
// Linear in x, so the jvp is the op itself.
#pragma once

#include "ops/fields.h"

namespace hf {

struct RopeArgs {
  View x, positions, inv_freq;
  double scale = 1;
  bool inverse = false;

  static constexpr const char* kName = "rope";
  static constexpr bool kTakesScratch = true;
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.inout("x", s.x, "N H D", kStored);
    f.in("positions", s.positions, "N", kIndices);
    f.in("inv_freq", s.inv_freq, "F", kDouble);
    f.number("scale", s.scale);
    f.flag("inverse", s.inverse);
  }
};

inline void check_args(const RopeArgs& a) {
  HF_CHECK(2 * a.inv_freq.shape[0] <= a.x.shape[2], ErrorCode::kShape,
           "rope: inv_freq has %lld frequencies, but x has only %lld dimensions a head; at most half as many",
           (long long)a.inv_freq.shape[0], (long long)a.x.shape[2]);
}
inline Cost cost(const RopeArgs& a) {
  return {6.0 * a.x.size(), 8.0 * a.x.size()};
}

}  // namespace hf
