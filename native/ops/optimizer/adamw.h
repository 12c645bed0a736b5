// Updates parameters by AdamW, Adam with decoupled weight decay, in one pass over them (Loshchilov & Hutter
// 2019, as in torch.optim.AdamW).
//   g = grad_scale · grad
//   m = β₁ m + (1 − β₁) g
//   v = β₂ v + (1 − β₂) g²
//   p = p (1 − lr · weight_decay) − lr · (m / (1 − β₁^step)) / (√(v / (1 − β₂^step)) + eps)
//
// Fields:
//   param (P)                       p, updated
//   grad (P)                        its gradient; grad_scale carries gradient clipping
//   exp_avg (P), exp_avg_sq (P)     m and v, updated; zero before the first step
//   step                            counts from 1
// Nothing may alias. The op is bound by memory: it reads 4 and writes 3 numbers a parameter.
#pragma once

#include "ops/fields.h"

namespace hf {

struct AdamwArgs {
  View param, grad, exp_avg, exp_avg_sq;
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double grad_scale = 1;
  int64_t step = 1;

  static constexpr const char* kName = "adamw";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.inout("param", s.param, "P");
    f.in("grad", s.grad, "P");
    f.inout("exp_avg", s.exp_avg, "P");
    f.inout("exp_avg_sq", s.exp_avg_sq, "P");
    f.number("lr", s.lr);
    f.number("beta1", s.beta1);
    f.number("beta2", s.beta2);
    f.number("eps", s.eps);
    f.number("weight_decay", s.weight_decay);
    f.number("grad_scale", s.grad_scale);
    f.integer("step", s.step);
  }
};

inline void check_args(const AdamwArgs& a) {
  HF_CHECK(a.step >= 1, ErrorCode::kInvalidArg, "adamw: step counts from 1, got %lld", (long long)a.step);
}
inline Cost cost(const AdamwArgs& a) {
  return {14.0 * a.param.size(), 28.0 * a.param.size()};
}

}  // namespace hf
