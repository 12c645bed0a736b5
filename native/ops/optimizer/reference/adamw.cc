#include <cmath>

#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const AdamwArgs& a, Run&) {
  const double correction1 = 1 - std::pow(a.beta1, double(a.step));
  const double correction2 = 1 - std::pow(a.beta2, double(a.step));
  const Real decay = static_cast<Real>(1 - a.lr * a.weight_decay);
  const Real step_size = static_cast<Real>(a.lr / correction1);
  const Real root_correction2 = static_cast<Real>(std::sqrt(correction2));
  const Real eps = static_cast<Real>(a.eps);
  const Real beta1 = static_cast<Real>(a.beta1);
  const Real beta2 = static_cast<Real>(a.beta2);
  const Real rest1 = static_cast<Real>(1 - a.beta1);
  const Real rest2 = static_cast<Real>(1 - a.beta2);
  for (int64_t i = 0; i < a.param.shape[0]; ++i) {
    Real& m = a.exp_avg.as<Real>()[i];
    Real& v = a.exp_avg_sq.as<Real>()[i];
    Real& p = a.param.as<Real>()[i];
    const Real g = static_cast<Real>(a.grad_scale) * a.grad.as<Real>()[i];
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    p = p * decay - step_size * m / (std::sqrt(v) / root_correction2 + eps);
  }
}

HF_REFERENCE(AdamwArgs)

}  // namespace hf::reference
