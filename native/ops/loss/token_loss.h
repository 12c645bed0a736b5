// From the log-probabilities of rows to their losses, and to the coefficients that multiply the gradient of
// the softmax. One set of inline functions for the reference, the CPU kernels and CUDA, so that ratios and
// clipping cannot differ between them. The equations are in ops/loss/linear_policy_gradient.h; what is
// particular to a loss or to a KL estimator is in ops/loss/losses.h.
#pragma once

#include <stdint.h>

#include "core/macros.h"
#include "ops/loss/linear_policy_gradient.h"

namespace hf::loss {

constexpr int kIgnored = -100;  // the target of a row that takes no part in the loss

// What multiplies the three softmax gradients of a row:
// coef (p − 1[y]) + entropy p (log p + H) + kl p (log p − log q − KL).
template <class Real>
struct RowCoefficients {
  Real coef, entropy, kl;
};

// Entry n of an optional column, `absent` where it is not given.
template <class Real>
HF_INLINE Real at(const View& v, int64_t n, Real absent) {
  return v ? v.as<const Real>()[n * v.stride[0]] : absent;
}
// Writes entry n of an optional column.
template <class T, class U>
HF_INLINE void put(const View& v, int64_t n, U value) {
  if (v) v.as<T>()[n * v.stride[0]] = static_cast<T>(value);
}

HF_INLINE bool ignored(const LinearPolicyGradientArgs& a, int64_t n) {
  return a.targets.as<const int32_t>()[n * a.targets.stride[0]] == kIgnored;
}

// The ratio that the rows of a sequence share: log ratio = Σ (logp − old_logp) / shares over the `scored`
// rows that are not ignored.
template <class Real>
struct SequenceRatio {
  Real ratio = 1, scored = 0, shares = 1;
};

// logp is indexed from `begin`.
template <class Real>
HF_INLINE SequenceRatio<Real> sequence_ratio(const LinearPolicyGradientArgs& a, int64_t begin, int64_t end,
                                             const Real* logp) {
  SequenceRatio<Real> sequence;
  Real total = 0;
  for (int64_t n = begin; n < end; ++n) {
    if (ignored(a, n)) continue;
    sequence.scored += 1;
    if (a.old_logps) total += logp[n - begin] - at<Real>(a.old_logps, n, 0);
  }
  sequence.shares = ratio_shares(a.importance, sequence.scored);
  sequence.ratio = saturated_exp(total / sequence.shares);
  return sequence;
}

// −coefficient · logp − entropy_coefficient · H of row n: writes it to `losses` and returns what it makes of
// the gradient.
template <class Real>
HF_INLINE RowCoefficients<Real> given_loss(const LinearPolicyGradientArgs& a, int64_t n, Real logp,
                                           Real entropy) {
  const Real coef = at<Real>(a.coefficients, n, 0);
  const Real entropy_coef = at<Real>(a.entropy_coefficients, n, 0);
  // 0 · (−∞) is 0 here: a masked target without a coefficient costs nothing.
  put<Real>(a.losses, n, (coef == 0 ? Real(0) : -coef * logp) - entropy_coef * entropy);
  return {coef, entropy_coef, 0};
}

// weight · (policy loss + beta · KL − entropy_coef · H) − entropy_coefficient · H of row n: writes it to
// `losses`, and returns what it makes of the gradient. `kl` is kl_term's result, or {exact KL, 0, 0}. Where
// rows share a ratio, the derivative by its logarithm is added to *d_shared instead.
template <class Real>
HF_INLINE RowCoefficients<Real> computed_loss(const LinearPolicyGradientArgs& a, int64_t n, Real ratio,
                                              Real logp, Real entropy, const Term<Real>& kl, Real* d_shared) {
  const bool penalty = a.beta != 0, shared_ratio = a.importance != ImportanceLevel::kToken;
  const Real beta = static_cast<Real>(a.beta), entropy_coef = static_cast<Real>(a.entropy_coef);
  const Real advantage = at<Real>(a.advantages, n, 0), weight = at<Real>(a.weights, n, 1);
  Term<Real> term = policy_term(a.loss, a.parameters, Token<Real>{ratio, advantage, logp});
  if (penalty) {
    const Real factor = a.kl_bias_correction ? beta * ratio : beta;
    term.value += factor * kl.value;
    term.d_logp += factor * kl.d_logp;
    if (a.kl_bias_correction) term.d_log_ratio += factor * kl.value;
  }
  if (entropy_coef != 0) term.value -= entropy_coef * entropy;

  const Real bonus = at<Real>(a.entropy_coefficients, n, 0);
  *d_shared += weight * term.d_log_ratio;
  put<Real>(a.losses, n, weight * term.value - bonus * entropy);
  put<int32_t>(a.clipped, n, term.clipped);
  return {
      .coef = -weight * (shared_ratio ? term.d_logp : term.d_logp + term.d_log_ratio),
      .entropy = weight * entropy_coef + bonus,
      .kl = a.kl == KlEstimator::kExact && penalty ? weight * beta : Real(0),
  };
}

// The coefficients of rows [begin, end), which are one sequence where tokens share ρ, and unrelated tokens
// otherwise. logp, entropy, exact_kl and coefs are indexed from `begin`; exact_kl may be null unless kl is
// 'exact'. Also writes the outputs ratio, kl_out, losses and clipped of those rows.
template <class Real>
HF_INLINE void rows(const LinearPolicyGradientArgs& a, int64_t begin, int64_t end, const Real* logp,
                    const Real* entropy, const Real* exact_kl, RowCoefficients<Real>* coefs) {
  const bool shared_ratio = a.importance != ImportanceLevel::kToken;
  const bool exact = a.kl == KlEstimator::kExact;
  SequenceRatio<Real> sequence;
  if (shared_ratio) sequence = sequence_ratio(a, begin, end, logp);

  Real d_shared = 0;  // Σ over the sequence of ∂L/∂log ρ
  for (int64_t n = begin; n < end; ++n) {
    const int64_t i = n - begin;
    Term<Real> kl = {exact && exact_kl ? exact_kl[i] : Real(0), 0, 0};
    Real ratio = 1;
    if (ignored(a, n)) {
      coefs[i] = {0, 0, 0};
      put<Real>(a.losses, n, 0);
      put<int32_t>(a.clipped, n, 0);
    } else {
      if (!exact && a.ref_logps) kl = kl_term(a.kl, logp[i] - at<Real>(a.ref_logps, n, 0));
      if (shared_ratio)
        ratio = sequence.ratio;
      else if (a.old_logps)
        ratio = saturated_exp(logp[i] - at<Real>(a.old_logps, n, 0));
      coefs[i] = a.loss == LossKind::kCoefficients
                     ? given_loss(a, n, logp[i], entropy[i])
                     : computed_loss(a, n, ratio, logp[i], entropy[i], kl, &d_shared);
    }
    put<Real>(a.ratio, n, ratio);
    put<Real>(a.kl_out, n, kl.value);
  }
  if (!shared_ratio || sequence.scored == 0) return;
  for (int64_t n = begin; n < end; ++n)
    if (!ignored(a, n)) coefs[n - begin].coef -= d_shared / sequence.shares;
}

}  // namespace hf::loss
