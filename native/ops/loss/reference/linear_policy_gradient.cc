#include <cmath>

#include "backends/reference/reference.h"
#include "ops/loss/token_loss.h"

namespace hf::reference {
namespace {

// z = (h Wᵀ + bias) / temperature, one row.
template <class Real>
void row_logits(const View& hidden, const View& weight, const View& bias, double temperature, int64_t n,
                Real* z) {
  for (int64_t v = 0; v < weight.shape[0]; ++v) {
    Real sum = bias ? bias.as<Real>()[v * bias.stride[0]] : Real(0);
    for (int64_t c = 0; c < weight.shape[1]; ++c)
      sum += real_at<Real>(hidden, n, c) * real_at<Real>(weight, v, c);
    z[v] = sum / static_cast<Real>(temperature);
  }
}

template <class Real>
struct Softmax {
  Real max, log_sum, entropy;
  int64_t argmax;
  Real log_p(Real z) const {
    return (z - max) - log_sum;
  }  // never z − lse, which loses digits at large logits
};

template <class Real>
Softmax<Real> softmax_of(const Real* z, int64_t V) {
  Softmax<Real> s{z[0], 0, 0, 0};
  for (int64_t v = 1; v < V; ++v)
    if (z[v] > s.max) s.max = z[v], s.argmax = v;
  Real sum = 0, moment = 0;
  for (int64_t v = 0; v < V; ++v) {
    if (z[v] == -INFINITY) continue;  // p = 0, and 0 · (−∞) counts as 0
    const Real e = std::exp(z[v] - s.max);
    sum += e, moment += e * (z[v] - s.max);
  }
  s.log_sum = std::log(sum);
  s.entropy = s.log_sum - moment / sum;
  return s;
}

template <class Real>
Real exact_kl(const Real* z, const Softmax<Real>& p, const Real* ref_z, const Softmax<Real>& q, int64_t V) {
  Real kl = 0;
  for (int64_t v = 0; v < V; ++v)
    if (z[v] != -INFINITY) kl += std::exp(p.log_p(z[v])) * (p.log_p(z[v]) - q.log_p(ref_z[v]));
  return kl;
}

}  // namespace

template <class Real>
void run(const LinearPolicyGradientArgs& a, Run& r) {
  check_values(a);
  const int64_t N = a.hidden.shape[0], C = a.hidden.shape[1], V = a.weight.shape[0];
  Scratch scratch(r);
  Real* z = scratch.allocate<Real>(V);
  Real* ref_z = scratch.allocate<Real>(V);
  Real* logp = scratch.allocate<Real>(N);
  Real* entropy = scratch.allocate<Real>(N);
  Real* kl = scratch.allocate<Real>(N);
  auto* coefs = scratch.allocate<pg::RowCoefs<Real>>(N);
  const auto target = [&](int64_t n) { return a.targets.as<int32_t>()[n * a.targets.stride[0]]; };

  for (int64_t n = 0; n < N; ++n) {
    row_logits(a.hidden, a.weight, a.bias, a.temperature, n, z);
    const Softmax<Real> p = softmax_of(z, V);
    logp[n] = target(n) == pg::kIgnored ? Real(0) : p.log_p(z[target(n)]);
    entropy[n] = p.entropy;
    kl[n] = 0;
    if (a.ref_hidden) {
      row_logits(a.ref_hidden, a.ref_weight, a.ref_bias, a.temperature, n, ref_z);
      kl[n] = exact_kl(z, p, ref_z, softmax_of(ref_z, V), V);
    }
    pg::put<Real>(a.logps, n, logp[n]);
    pg::put<Real>(a.entropy, n, entropy[n]);
    pg::put<Real>(a.max_prob, n, std::exp(-p.log_sum));
    pg::put<int32_t>(a.argmax, n, p.argmax);
    pg::put<Real>(a.lse, n, p.max + p.log_sum);
  }

  if (a.importance != ImportanceLevel::kToken) {
    const int32_t* offsets = a.offsets.as<int32_t>();
    for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s) {
      const int64_t begin = offsets[s * a.offsets.stride[0]], end = offsets[(s + 1) * a.offsets.stride[0]];
      pg::rows(a, begin, end, logp + begin, entropy + begin, kl + begin, coefs + begin);
    }
  } else {
    pg::rows(a, 0, N, logp, entropy, kl, coefs);
  }

  for (int64_t n = 0; n < N; ++n) {
    if (a.d_hidden)
      for (int64_t c = 0; c < C; ++c)
        a.d_hidden.as<Real>()[n * a.d_hidden.stride[0] + c] = 0;
    if (!(a.d_hidden || a.d_weight || a.d_bias) || target(n) == pg::kIgnored) continue;
    row_logits(a.hidden, a.weight, a.bias, a.temperature, n, z);
    const Softmax<Real> p = softmax_of(z, V);
    Softmax<Real> q{};
    if (a.ref_hidden) {
      row_logits(a.ref_hidden, a.ref_weight, a.ref_bias, a.temperature, n, ref_z);
      q = softmax_of(ref_z, V);
    }
    for (int64_t v = 0; v < V; ++v) {
      Real g = v == target(n) ? -coefs[n].coef : Real(0);
      if (z[v] != -INFINITY) {
        const Real log_p = p.log_p(z[v]);
        Real factor = coefs[n].coef + coefs[n].entropy * (log_p + p.entropy);
        if (a.ref_hidden) factor += coefs[n].kl * (log_p - q.log_p(ref_z[v]) - kl[n]);
        g += std::exp(log_p) * factor;
      }
      g /= static_cast<Real>(a.temperature);
      if (a.d_bias) a.d_bias.as<Real>()[v * a.d_bias.stride[0]] += g;
      for (int64_t c = 0; c < C; ++c) {
        if (a.d_hidden)
          a.d_hidden.as<Real>()[n * a.d_hidden.stride[0] + c] += g * real_at<Real>(a.weight, v, c);
        if (a.d_weight)
          a.d_weight.as<Real>()[v * a.d_weight.stride[0] + c] += g * real_at<Real>(a.hidden, n, c);
      }
    }
  }
}

HF_REFERENCE(LinearPolicyGradientArgs)

}  // namespace hf::reference
