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
  // Never z − lse, which loses digits at large logits.
  Real log_p(Real z) const { return (z - max) - log_sum; }
};

template <class Real>
Softmax<Real> softmax_of(const Real* z, int64_t V) {
  Softmax<Real> s{z[0], 0, 0, 0};
  for (int64_t v = 1; v < V; ++v) {
    if (z[v] > s.max) {
      s.max = z[v];
      s.argmax = v;
    }
  }
  Real sum = 0, moment = 0;
  for (int64_t v = 0; v < V; ++v) {
    if (z[v] == -INFINITY) continue;  // p = 0, and 0 · (−∞) counts as 0
    const Real e = std::exp(z[v] - s.max);
    sum += e;
    moment += e * (z[v] - s.max);
  }
  s.log_sum = std::log(sum);
  s.entropy = s.log_sum - moment / sum;
  return s;
}

template <class Real>
Real exact_kl(const Real* z, const Softmax<Real>& p, const Real* ref_z, const Softmax<Real>& q, int64_t V) {
  Real kl = 0;
  for (int64_t v = 0; v < V; ++v) {
    if (z[v] == -INFINITY) continue;
    const Real log_p = p.log_p(z[v]);
    kl += std::exp(log_p) * (log_p - q.log_p(ref_z[v]));
  }
  return kl;
}

// A call, row after row. Logits and their softmax are those of the row at hand.
template <class Real>
struct Call {
  const LinearPolicyGradientArgs& a;
  const int64_t N, C, V;
  Real* z;
  Real* ref_z;
  Softmax<Real> p{}, q{};
  // (N)
  Real* logp;
  Real* entropy;
  Real* kl;
  loss::RowCoefficients<Real>* coefs;

  Call(const LinearPolicyGradientArgs& args, Scratch& scratch)
      : a(args),
        N(args.hidden.shape[0]),
        C(args.hidden.shape[1]),
        V(args.weight.shape[0]),
        z(scratch.allocate<Real>(V)),
        ref_z(scratch.allocate<Real>(V)),
        logp(scratch.allocate<Real>(N)),
        entropy(scratch.allocate<Real>(N)),
        kl(scratch.allocate<Real>(N)),
        coefs(scratch.allocate<loss::RowCoefficients<Real>>(N)) {}

  int32_t target(int64_t n) const { return a.targets.as<int32_t>()[n * a.targets.stride[0]]; }

  void softmax(int64_t n) {
    row_logits(a.hidden, a.weight, a.bias, a.temperature, n, z);
    p = softmax_of(z, V);
    if (!a.ref_hidden) return;
    row_logits(a.ref_hidden, a.ref_weight, a.ref_bias, a.temperature, n, ref_z);
    q = softmax_of(ref_z, V);
  }

  void forward(int64_t n) {
    softmax(n);
    logp[n] = loss::ignored(a, n) ? Real(0) : p.log_p(z[target(n)]);
    entropy[n] = p.entropy;
    kl[n] = a.ref_hidden ? exact_kl(z, p, ref_z, q, V) : Real(0);
    loss::put<Real>(a.logps, n, logp[n]);
    loss::put<Real>(a.entropy, n, entropy[n]);
    loss::put<Real>(a.max_prob, n, std::exp(-p.log_sum));
    loss::put<int32_t>(a.argmax, n, p.argmax);
    loss::put<Real>(a.lse, n, p.max + p.log_sum);
  }

  void coefficients(int64_t begin, int64_t end) {
    loss::rows(a, begin, end, logp + begin, entropy + begin, kl + begin, coefs + begin);
  }

  // ∂L/∂(h Wᵀ)[n, v]
  Real logit_gradient(int64_t n, int64_t v) const {
    Real g = v == target(n) ? -coefs[n].coef : Real(0);
    if (z[v] != -INFINITY) {
      const Real log_p = p.log_p(z[v]);
      Real factor = coefs[n].coef + coefs[n].entropy * (log_p + p.entropy);
      if (a.ref_hidden) factor += coefs[n].kl * (log_p - q.log_p(ref_z[v]) - kl[n]);
      g += std::exp(log_p) * factor;
    }
    return g / static_cast<Real>(a.temperature);
  }

  void backward(int64_t n) {
    Real* d_hidden = a.d_hidden ? a.d_hidden.as<Real>() + n * a.d_hidden.stride[0] : nullptr;
    for (int64_t c = 0; d_hidden && c < C; ++c)
      d_hidden[c] = 0;
    if (loss::ignored(a, n)) return;
    softmax(n);
    for (int64_t v = 0; v < V; ++v) {
      const Real g = logit_gradient(n, v);
      Real* d_weight = a.d_weight ? a.d_weight.as<Real>() + v * a.d_weight.stride[0] : nullptr;
      if (a.d_bias) a.d_bias.as<Real>()[v * a.d_bias.stride[0]] += g;
      for (int64_t c = 0; c < C; ++c) {
        if (d_hidden) d_hidden[c] += g * real_at<Real>(a.weight, v, c);
        if (d_weight) d_weight[c] += g * real_at<Real>(a.hidden, n, c);
      }
    }
  }
};

}  // namespace

template <class Real>
void run(const LinearPolicyGradientArgs& a, Run& r) {
  check_values(a);
  Scratch scratch(r);
  Call<Real> call(a, scratch);
  for (int64_t n = 0; n < call.N; ++n)
    call.forward(n);

  if (a.importance == ImportanceLevel::kToken) {
    call.coefficients(0, call.N);
  } else {
    const auto offset = [&](int64_t s) { return a.offsets.as<int32_t>()[s * a.offsets.stride[0]]; };
    for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s)
      call.coefficients(offset(s), offset(s + 1));
  }

  if (!(a.d_hidden || a.d_weight || a.d_bias)) return;
  for (int64_t n = 0; n < call.N; ++n)
    call.backward(n);
}

HF_REFERENCE(LinearPolicyGradientArgs)

}  // namespace hf::reference
