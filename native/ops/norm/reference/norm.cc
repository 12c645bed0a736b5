#include <cmath>

#include "backends/reference/reference.h"

namespace hf::reference {
namespace {

// x̂[n,c] from the saved statistics.
template <class Real, class A>
Real normalised(const A& a, int64_t n, int64_t c) {
  return (a.x.template as<Real>()[n * a.x.stride[0] + c] - a.mean.template as<Real>()[n]) *
         a.rstd.template as<Real>()[n];
}

}  // namespace

template <class Real>
void run(const NormArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  for (int64_t n = 0; n < N; ++n) {
    const Real* x = a.x.as<Real>() + n * a.x.stride[0];
    Real mean = 0;
    if (a.kind == NormKind::kLayer) {
      for (int64_t c = 0; c < C; ++c)
        mean += x[c];
      mean /= static_cast<Real>(C);
    }
    Real variance = 0;
    for (int64_t c = 0; c < C; ++c)
      variance += (x[c] - mean) * (x[c] - mean);
    variance /= static_cast<Real>(C);
    const Real rstd = 1 / std::sqrt(variance + static_cast<Real>(a.eps));
    for (int64_t c = 0; c < C; ++c) {
      Real y = a.gain.as<Real>()[c] * ((x[c] - mean) * rstd);
      if (a.bias) y += a.bias.as<Real>()[c];
      a.y.as<Real>()[n * a.y.stride[0] + c] = y;
    }
    if (a.mean) a.mean.as<Real>()[n] = mean;
    if (a.rstd) a.rstd.as<Real>()[n] = rstd;
  }
}

template <class Real>
void run(const NormBackwardArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  const Real* gain = a.gain.as<Real>();
  for (int64_t n = 0; n < N; ++n) {
    const Real* d_y = a.d_y.as<Real>() + n * a.d_y.stride[0];
    Real mean_g = 0;
    Real mean_g_x_hat = 0;
    for (int64_t c = 0; c < C; ++c) {
      const Real x_hat = normalised<Real>(a, n, c);
      const Real g = gain[c] * d_y[c];
      mean_g += g;
      mean_g_x_hat += g * x_hat;
      if (a.x_hat) a.x_hat.as<Real>()[n * a.x_hat.stride[0] + c] = x_hat;
    }
    mean_g = a.kind == NormKind::kLayer ? mean_g / static_cast<Real>(C) : 0;
    mean_g_x_hat /= static_cast<Real>(C);
    if (!a.d_x) continue;
    for (int64_t c = 0; c < C; ++c) {
      const Real centred = gain[c] * d_y[c] - mean_g - normalised<Real>(a, n, c) * mean_g_x_hat;
      const Real value = a.rstd.as<Real>()[n] * centred;
      Real& d_x = a.d_x.as<Real>()[n * a.d_x.stride[0] + c];
      d_x = a.add_to_d_x ? d_x + value : value;
    }
  }
}

// x̂ moves like the backward pass with t_x in the place of g; the gain and the bias enter linearly.
template <class Real>
void run(const NormJvpArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  for (int64_t n = 0; n < N; ++n) {
    const Real* t_x = a.t_x ? a.t_x.as<Real>() + n * a.t_x.stride[0] : nullptr;
    Real mean_t = 0;
    Real mean_t_x_hat = 0;
    for (int64_t c = 0; t_x && c < C; ++c) {
      mean_t += t_x[c];
      mean_t_x_hat += t_x[c] * normalised<Real>(a, n, c);
    }
    mean_t = a.kind == NormKind::kLayer ? mean_t / static_cast<Real>(C) : 0;
    mean_t_x_hat /= static_cast<Real>(C);
    for (int64_t c = 0; c < C; ++c) {
      const Real x_hat = normalised<Real>(a, n, c);
      Real t_y = 0;
      if (t_x) t_y += a.gain.as<Real>()[c] * a.rstd.as<Real>()[n] * (t_x[c] - mean_t - x_hat * mean_t_x_hat);
      if (a.t_gain) t_y += a.t_gain.as<Real>()[c] * x_hat;
      if (a.t_bias) t_y += a.t_bias.as<Real>()[c];
      a.t_y.as<Real>()[n * a.t_y.stride[0] + c] = t_y;
    }
  }
}

HF_REFERENCE(NormArgs)
HF_REFERENCE(NormBackwardArgs)
HF_REFERENCE(NormJvpArgs)

}  // namespace hf::reference
