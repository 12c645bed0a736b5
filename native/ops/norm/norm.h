// Normalises every row of a matrix, by layer norm or RMS norm, and saves what the backward pass needs.
//   layer:  x̂ = (x − mean) · rstd,    rstd = 1/√(var + eps),  var biased      (Ba et al. 2016)
//   rms:    x̂ = x · rstd,             rstd = 1/√(mean(x²) + eps)              (Zhang & Sennrich 2019)
//   y = gain ∘ x̂ (+ bias)
//
// Fields:
//   x, y (N,C)              the rows, and the result, which is overwritten
//   gain (C), bias (C)      bias is optional
//   mean (N), rstd (N)      optional results; mean is 0 for rms
// The backward pass, with g = gain ∘ d_y:
//   d_x = rstd · (g − mean(g) − x̂ · mean(g ∘ x̂)), without mean(g) for rms
//   add_to_d_x    d_x is added to, because the residual stream's gradient is already there
//   x_hat (N,C)   written when a gradient sink wants the gain's pair (x̂, d_y):
//                 d_gain = Σ_n x̂ ∘ d_y and d_bias = Σ_n d_y are op reduce
// Nothing may alias. The op is bound by memory: two passes over x, one write.
#pragma once

#include "ops/fields.h"

namespace hf {

enum class NormKind : int32_t { kLayer, kRms };
inline constexpr const char* kNormKinds[] = {"layer", "rms"};

struct NormArgs {
  View x, gain, bias, y, mean, rstd;
  NormKind kind = NormKind::kLayer;
  double eps = 1e-5;

  static constexpr const char* kName = "norm";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C");
    f.in("gain", s.gain, "C");
    f.in("bias", s.bias, "C", kOptional);
    f.out("y", s.y, "N C", kStored);
    f.out("mean", s.mean, "N", kOptional);  // 0 for rms
    f.out("rstd", s.rstd, "N", kOptional);
    f.choice("kind", s.kind, kNormKinds, 2);
    f.number("eps", s.eps);
  }
};

struct NormBackwardArgs {
  View x, gain, mean, rstd, d_y, d_x, x_hat;
  NormKind kind = NormKind::kLayer;
  bool add_to_d_x = false;

  static constexpr const char* kName = "norm_backward";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C");
    f.in("gain", s.gain, "C");
    f.in("mean", s.mean, "N");
    f.in("rstd", s.rstd, "N");
    f.in("d_y", s.d_y, "N C", kStored);
    f.inout("d_x", s.d_x, "N C", kOptional);
    f.out("x_hat", s.x_hat, "N C", kOptional | kStored);
    f.choice("kind", s.kind, kNormKinds, 2);
    f.flag("add_to_d_x", s.add_to_d_x);
  }
};

struct NormJvpArgs {
  View x, gain, mean, rstd, t_x, t_gain, t_bias, t_y;
  NormKind kind = NormKind::kLayer;

  static constexpr const char* kName = "norm_jvp";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C");
    f.in("gain", s.gain, "C");
    f.in("mean", s.mean, "N");
    f.in("rstd", s.rstd, "N");
    f.in("t_x", s.t_x, "N C", kOptional);
    f.in("t_gain", s.t_gain, "C", kOptional);
    f.in("t_bias", s.t_bias, "C", kOptional);
    f.out("t_y", s.t_y, "N C");
    f.choice("kind", s.kind, kNormKinds, 2);
  }
};

inline Cost cost(const NormArgs& a) {
  return {7.0 * a.x.size(), 8.0 * a.x.size()};
}
inline Cost cost(const NormBackwardArgs& a) {
  return {11.0 * a.x.size(), (a.x_hat ? 16.0 : 12.0) * a.x.size()};
}
inline Cost cost(const NormJvpArgs& a) {
  return {14.0 * a.x.size(), 12.0 * a.x.size()};
}

}  // namespace hf
