// The gradient of a function with respect to the logits, for a slice of the vocabulary at a time (what sinks
// of the NTK take):
//   z[n,v] becomes scale[n] · (1[first_id + v = targets[n]] − e^(z[n,v] − lse[n]))      f = Σ scale · log π(target)
// Without lse f is Σ scale · z_target: z, which may then be undefined, becomes
// scale[n] · 1[first_id + v = targets[n]]. Without scale that is 1. A target outside the slice is in another
// one.
//
// With `g` the result goes there instead, rounded to its type, and z stays. On a run that stores bfloat16
// that is how products read it. z itself keeps float32 there: logits of 20, rounded to bfloat16, would be off
// by 0.04, and probabilities by as many parts of one. Memory bound.
#pragma once

#include "ops/fields.h"

namespace hf {

struct ClassifierGradientArgs {
  View z, lse, targets, scale, g;
  int64_t first_id = 0;

  static constexpr const char* kName = "classifier_gradient";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.inout("z", s.z, "N V");
    f.in("lse", s.lse, "N", kOptional);
    f.in("targets", s.targets, "N", kIndices);
    f.in("scale", s.scale, "N", kOptional);
    f.out("g", s.g, "N V", kOptional | kStored);
    f.integer("first_id", s.first_id);
  }
};

inline Cost cost(const ClassifierGradientArgs& a) {
  return {
      .flops = (a.lse ? 12.0 : 1.0) * a.z.size(),
      .bytes = (a.lse ? 8.0 : 4.0) * a.z.size(),
  };
}

}  // namespace hf
