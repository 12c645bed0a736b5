// The scalar half of the policy-gradient losses: from a token's log-probability to its loss and to the
// coefficients that multiply the softmax gradient. One inline function for the reference, the CPU kernels and
// CUDA, so that clipping, ratios and KL estimators cannot differ between them. The equations are in
// ops/loss/linear_policy_gradient.h; the conventions are TRL's (trl/trainer/grpo_trainer.py at f2cd577,
// _compute_loss):
//   clip    is the unclipped branch unless ρ lies strictly beyond the bound on the side where clipping lowers the objective
//           (A < 0 and ρ < 1 − epsilon_low, or A > 0 and ρ > 1 + epsilon_high); at a tie the gradient flows.
//   cispo   flags a token only where A > 0, though the weight is capped whatever the sign of A.
// Exponents saturate at e^80 = 5.5e34, so that a runaway ratio or a k3 spike stays finite in float32; below
// that it is exact.
#pragma once

#include <math.h>
#include <stdint.h>

#include "core/macros.h"
#include "ops/loss/linear_policy_gradient.h"

namespace hf::pg {

constexpr int kIgnored = -100;  // the target of a row that takes no part in the loss

HF_INLINE float saturated_exp(float x) {
  return expf(x < 80.0f ? x : 80.0f);
}
HF_INLINE double saturated_exp(double x) {
  return exp(x < 80.0 ? x : 80.0);
}
HF_INLINE float saturated_expm1(float x) {
  return expm1f(x < 80.0f ? x : 80.0f);
}
HF_INLINE double saturated_expm1(double x) {
  return expm1(x < 80.0 ? x : 80.0);
}

// The options of a call, in the arithmetic of its backend.
template <class Real>
struct Options {
  PgLoss loss;
  KlEstimator kl;
  bool kl_in_loss, corrected;
  Real low, high, cap, beta, entropy_coef;

  HF_INLINE explicit Options(const LinearPolicyGradientArgs& a)
      : loss(a.loss),
        kl(a.kl),
        kl_in_loss(a.loss != PgLoss::kCoefficients && a.beta != 0),
        corrected(a.kl_bias_correction),
        low(static_cast<Real>(1 - a.epsilon_low)),
        high(static_cast<Real>(a.loss == PgLoss::kCispo ? a.epsilon_high : 1 + a.epsilon_high)),
        cap(static_cast<Real>(a.delta > 0 ? a.delta : INFINITY)),
        beta(static_cast<Real>(a.beta)),
        entropy_coef(static_cast<Real>(a.entropy_coef)) {}
};

// A value and its two partial derivatives: by the token's own logp, and by log ρ (which for a sequence-level
// ratio is shared).
template <class Real>
struct Term {
  Real value, d_logp, d_log_ratio;
};

// d = logp − ref_logp
template <class Real>
HF_INLINE Term<Real> kl_term(KlEstimator kl, Real d) {
  switch (kl) {
    case KlEstimator::kK1: return {d, Real(1), Real(0)};
    case KlEstimator::kK2: return {d * d / 2, d, Real(0)};
    case KlEstimator::kK3: {
      const Real m = saturated_expm1(-d);  // e^(−d) − 1
      return {m + d, -m, Real(0)};
    }
    case KlEstimator::kExact: break;  // not a function of logp: its gradient is over the vocabulary
  }
  return {Real(0), Real(0), Real(0)};
}

template <class Real>
HF_INLINE Term<Real> policy_term(const Options<Real>& o, Real ratio, Real advantage, Real logp,
                                 int32_t* clipped) {
  if (o.loss == PgLoss::kCispo) {
    *clipped = ratio > o.high && advantage > 0;
    const Real weight = (ratio < o.high ? ratio : o.high) * advantage;
    return {-weight * logp, -weight, Real(0)};
  }
  const bool capped = ratio > o.cap;
  if (capped) ratio = o.cap;
  *clipped = advantage < 0 && ratio < o.low ? -1 : advantage > 0 && ratio > o.high ? 1 : 0;
  if (*clipped) return {-(*clipped < 0 ? o.low : o.high) * advantage, Real(0), Real(0)};
  return {-ratio * advantage, Real(0), capped ? Real(0) : -ratio * advantage};
}

// ℓ without its weight. `kl` is kl_term's result, or {exact KL, 0, 0}.
template <class Real>
HF_INLINE Term<Real> token_term(const Options<Real>& o, Real ratio, Real advantage, Real logp, Real entropy,
                                Term<Real> kl, int32_t* clipped) {
  Term<Real> t = policy_term(o, ratio, advantage, logp, clipped);
  if (o.kl_in_loss) {
    const Real beta = o.corrected ? o.beta * ratio : o.beta;
    t.value += beta * kl.value;
    t.d_logp += beta * kl.d_logp;
    if (o.corrected) t.d_log_ratio += beta * kl.value;
  }
  if (o.entropy_coef != 0) t.value -= o.entropy_coef * entropy;
  return t;
}

// What multiplies the three softmax gradients of a row: coef (p − 1[y]) + entropy p (log p + H) + kl p (log p
// − log q − KL).
template <class Real>
struct RowCoefs {
  Real coef, entropy, kl;
};

template <class Real>
HF_INLINE Real at(const View& v, int64_t n, Real absent) {
  return v ? v.as<const Real>()[n * v.stride[0]] : absent;
}
template <class T, class U>
HF_INLINE void put(const View& v, int64_t n, U value) {
  if (v) v.as<T>()[n * v.stride[0]] = static_cast<T>(value);
}

// Rows [begin, end): one sequence when importance is 'sequence' or 'product' (they share ρ), unrelated tokens
// otherwise. logp, entropy, exact_kl and coefs are indexed from `begin`; exact_kl may be null unless kl is
// 'exact'. Writes ratio, kl_out, losses and clipped of those rows. Host only: CUDA calls token_term from its
// own row pass.
template <class Real>
HF_INLINE void rows(const LinearPolicyGradientArgs& a, int64_t begin, int64_t end, const Real* logp,
                    const Real* entropy, const Real* exact_kl, RowCoefs<Real>* coefs) {
  const Options<Real> o(a);
  const int32_t* targets = a.targets.as<const int32_t>();
  const int64_t step = a.targets.stride[0];
  const bool by_sequence = a.importance != ImportanceLevel::kToken;
  Real shared_ratio = 1, scored = 0, shares = 1;  // log ρ = Σ (logp − old_logp) / shares
  if (by_sequence) {
    Real total = 0;
    for (int64_t n = begin; n < end; ++n) {
      if (targets[n * step] == kIgnored) continue;
      scored += 1;
      if (a.old_logps) total += logp[n - begin] - at<Real>(a.old_logps, n, 0);
    }
    if (a.importance == ImportanceLevel::kSequence && scored > 0) shares = scored;
    shared_ratio = saturated_exp(total / shares);
  }
  Real d_shared = 0;  // Σ over the sequence of weight · dℓ/d log ρ
  for (int64_t n = begin; n < end; ++n) {
    RowCoefs<Real>& c = coefs[n - begin];
    const Real lp = logp[n - begin], h = entropy[n - begin];
    const bool exact = a.kl == KlEstimator::kExact;
    Term<Real> kl = {exact && exact_kl ? exact_kl[n - begin] : Real(0), 0, 0};
    c = {0, 0, 0};
    if (targets[n * step] == kIgnored) {
      put<Real>(a.ratio, n, 1), put<Real>(a.kl_out, n, kl.value), put<Real>(a.losses, n, 0),
          put<int32_t>(a.clipped, n, 0);
      continue;
    }
    if (!exact && a.ref_logps) kl = kl_term(a.kl, lp - at<Real>(a.ref_logps, n, 0));
    const Real ratio = by_sequence   ? shared_ratio
                       : a.old_logps ? saturated_exp(lp - at<Real>(a.old_logps, n, 0))
                                     : Real(1);
    int32_t clipped = 0;
    if (a.loss == PgLoss::kCoefficients) {
      c.coef = at<Real>(a.coefficients, n, 0), c.entropy = at<Real>(a.entropy_coefficients, n, 0);
      // 0 · (−∞) is 0 here: a masked target without a coefficient costs nothing.
      put<Real>(a.losses, n, (c.coef == 0 ? Real(0) : -c.coef * lp) - c.entropy * h);
    } else {
      const Real weight = at<Real>(a.weights, n, 1);
      const Term<Real> t = token_term(o, ratio, at<Real>(a.advantages, n, 0), lp, h, kl, &clipped);
      c.coef = -weight * (by_sequence ? t.d_logp : t.d_logp + t.d_log_ratio);
      const Real bonus = at<Real>(a.entropy_coefficients, n, 0);
      c.entropy = weight * o.entropy_coef + bonus;
      c.kl = exact && o.kl_in_loss ? weight * o.beta : Real(0);
      d_shared += weight * t.d_log_ratio;
      put<Real>(a.losses, n, weight * t.value - bonus * h);
    }
    put<Real>(a.ratio, n, ratio), put<Real>(a.kl_out, n, kl.value), put<int32_t>(a.clipped, n, clipped);
  }
  if (by_sequence && scored > 0)
    for (int64_t n = begin; n < end; ++n)
      if (targets[n * step] != kIgnored) coefs[n - begin].coef -= d_shared / shares;
}

}  // namespace hf::pg
