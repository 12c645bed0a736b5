// Rotary position embedding, in place: rotates pairs of numbers of every head by an angle that grows with the
// position (Su et al. 2021).
//   (x[i], x[F + i]) ← scale · rotate((x[i], x[F + i]), ± positions[n] · inv_freq[i])    for i < F
//
// Fields:
//   x (N,H,D)         updated; the first 2 F of the D dimensions are rotated, the rest pass through
//   positions (N)     of the rows
//   inv_freq (F)      radians per position, float64
//   scale             of the result
//   inverse           rotates by −angle, which is both the backward pass and the transpose
// A pair is an element of the first half and one of the second half of the rotated dimensions, the layout of
// Hugging Face checkpoints. The angle is computed in float64. Frequency scaling (linear, llama3, …) is the
// caller's: it arrives as inv_freq, with attention scaling folded into `scale`. The op is linear in x, so its
// jvp is the op itself. It is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct RopeArgs {
  View x, positions, inv_freq;
  double scale = 1;
  bool inverse = false;

  static constexpr const char* kName = "rope";
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
