#include <cmath>

#include "backends/reference/reference.h"

namespace hf::reference {
namespace {

template <class Real>
struct ValueAndSlope {
  Real value;
  Real slope;
};

// f(x) and f′(x) of the nonlinearity alone (silu for silu_gate).
template <class Real>
ValueAndSlope<Real> evaluate(ActivationKind kind, Real x) {
  switch (kind) {
    case ActivationKind::kGelu: {
      const Real distribution = (1 + std::erf(x * Real(0.70710678118654752440))) / 2;
      const Real density = std::exp(-x * x / 2) * Real(0.39894228040143267794);
      return {x * distribution, distribution + x * density};
    }
    case ActivationKind::kGeluNew: {
      const Real a = Real(0.79788456080286535588);  // √(2/π)
      const Real b = Real(0.044715);
      const Real t = std::tanh(a * (x + b * x * x * x));
      return {x / 2 * (1 + t), (1 + t) / 2 + x / 2 * (1 - t * t) * a * (1 + 3 * b * x * x)};
    }
    case ActivationKind::kSiluGate: {
      const Real sigmoid = 1 / (1 + std::exp(-x));
      return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
    }
    case ActivationKind::kRelu: return {x < 0 ? 0 : x, x > 0 ? Real(1) : Real(0)};
  }
  return {};
}

}  // namespace

template <class Real>
void run(const ActivationArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      Real y = evaluate(a.kind, a.x.as<Real>()[n * a.x.stride[0] + c]).value;
      if (a.up) y *= a.up.as<Real>()[n * a.up.stride[0] + c];
      a.y.as<Real>()[n * a.y.stride[0] + c] = y;
    }
}

template <class Real>
void run(const ActivationBackwardArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      const auto f = evaluate(a.kind, a.x.as<Real>()[n * a.x.stride[0] + c]);
      const Real d_y = a.d_y.as<Real>()[n * a.d_y.stride[0] + c];
      const Real up = a.up ? a.up.as<Real>()[n * a.up.stride[0] + c] : Real(1);
      a.d_x.as<Real>()[n * a.d_x.stride[0] + c] = d_y * up * f.slope;
      if (a.d_up) a.d_up.as<Real>()[n * a.d_up.stride[0] + c] = d_y * f.value;
    }
}

template <class Real>
void run(const ActivationJvpArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      const auto f = evaluate(a.kind, a.x.as<Real>()[n * a.x.stride[0] + c]);
      Real t_y = f.slope * a.t_x.as<Real>()[n * a.t_x.stride[0] + c];
      if (a.up)
        t_y = t_y * a.up.as<Real>()[n * a.up.stride[0] + c] +
              f.value * a.t_up.as<Real>()[n * a.t_up.stride[0] + c];
      a.t_y.as<Real>()[n * a.t_y.stride[0] + c] = t_y;
    }
}

HF_REFERENCE(ActivationArgs)
HF_REFERENCE(ActivationBackwardArgs)
HF_REFERENCE(ActivationJvpArgs)

}  // namespace hf::reference
