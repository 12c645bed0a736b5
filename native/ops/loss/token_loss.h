// From the log-probabilities of rows to their losses, and to the coefficients that multiply the gradient of the
// softmax. One set of inline functions for the reference, the CPU kernels and CUDA, so that ratios and clipping
// cannot differ between them. The equations are in ops/loss/linear_policy_gradient.h; what is particular to a loss
// or to a KL estimator is in ops/loss/losses.h.
#pragma once

#include <stdint.h>

#include "core/macros.h"
#include "ops/loss/linear_policy_gradient.h"

namespace hf::pg {

constexpr int kIgnored = -100;  // the target of a row that takes no part in the loss

// What multiplies the three softmax gradients of a row:
// coef (p − 1[y]) + entropy p (log p + H) + kl p (log p − log q − KL).
template <class Real>
struct RowCoefs {
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

// The ratio that the rows of a sequence share: log ratio = Σ (logp − old_logp) / shares over the `scored` rows
// that are not ignored.
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

// A row's share of L, and what follows from it.
template <class Real>
struct RowLoss {
  Real value = 0;
  RowCoefs<Real> coefs{0, 0, 0};
  Real weight = 0, d_log_ratio = 0;  // ∂value/∂log ρ = weight · d_log_ratio
  int32_t clipped = 0;
};

// −coefficient · logp − entropy_coefficient · H
template <class Real>
HF_INLINE RowLoss<Real> given_loss(const LinearPolicyGradientArgs& a, int64_t n, Real logp, Real entropy) {
  RowLoss<Real> row;
  row.coefs.coef = at<Real>(a.coefficients, n, 0);
  row.coefs.entropy = at<Real>(a.entropy_coefficients, n, 0);
  // 0 · (−∞) is 0 here: a masked target without a coefficient costs nothing.
  const Real by_logp = row.coefs.coef == 0 ? Real(0) : -row.coefs.coef * logp;
  row.value = by_logp - row.coefs.entropy * entropy;
  return row;
}

// weight · (policy loss + beta · KL − entropy_coef · H) − entropy_coefficient · H. `kl` is kl_term's result, or
// {exact KL, 0, 0}.
template <class Real>
HF_INLINE RowLoss<Real> computed_loss(const LinearPolicyGradientArgs& a, int64_t n, Real ratio, Real logp,
                                      Real entropy, const Term<Real>& kl) {
  const bool penalty = a.beta != 0, shared_ratio = a.importance != ImportanceLevel::kToken;
  const Real beta = static_cast<Real>(a.beta), entropy_coef = static_cast<Real>(a.entropy_coef);
  const Real advantage = at<Real>(a.advantages, n, 0);
  Term<Real> term = policy_term(a.loss, a.parameters, Token<Real>{ratio, advantage, logp});
  if (penalty) {
    const Real factor = a.kl_bias_correction ? beta * ratio : beta;
    term.value += factor * kl.value;
    term.d_logp += factor * kl.d_logp;
    if (a.kl_bias_correction) term.d_log_ratio += factor * kl.value;
  }
  if (entropy_coef != 0) term.value -= entropy_coef * entropy;

  const Real weight = at<Real>(a.weights, n, 1);
  const Real bonus = at<Real>(a.entropy_coefficients, n, 0);
  RowLoss<Real> row;
  row.value = weight * term.value - bonus * entropy;
  row.coefs.coef = -weight * (shared_ratio ? term.d_logp : term.d_logp + term.d_log_ratio);
  row.coefs.entropy = weight * entropy_coef + bonus;
  row.coefs.kl = a.kl == KlEstimator::kExact && penalty ? weight * beta : Real(0);
  row.weight = weight;
  row.d_log_ratio = term.d_log_ratio;
  row.clipped = term.clipped;
  return row;
}

template <class Real>
HF_INLINE void put_row(const LinearPolicyGradientArgs& a, int64_t n, Real ratio, Real kl,
                       const RowLoss<Real>& row) {
  put<Real>(a.ratio, n, ratio);
  put<Real>(a.kl_out, n, kl);
  put<Real>(a.losses, n, row.value);
  put<int32_t>(a.clipped, n, row.clipped);
}

// The coefficients of rows [begin, end), which are one sequence where tokens share ρ, and unrelated tokens
// otherwise. logp, entropy, exact_kl and coefs are indexed from `begin`; exact_kl may be null unless kl is
// 'exact'. Also writes the outputs ratio, kl_out, losses and clipped of those rows.
template <class Real>
HF_INLINE void rows(const LinearPolicyGradientArgs& a, int64_t begin, int64_t end, const Real* logp,
                    const Real* entropy, const Real* exact_kl, RowCoefs<Real>* coefs) {
  const bool shared_ratio = a.importance != ImportanceLevel::kToken;
  const bool exact = a.kl == KlEstimator::kExact;
  SequenceRatio<Real> sequence;
  if (shared_ratio) sequence = sequence_ratio(a, begin, end, logp);

  Real d_shared = 0;  // Σ over the sequence of ∂L/∂log ρ
  for (int64_t n = begin; n < end; ++n) {
    const int64_t i = n - begin;
    Term<Real> kl = {exact && exact_kl ? exact_kl[i] : Real(0), 0, 0};
    if (ignored(a, n)) {
      const RowLoss<Real> nothing;
      coefs[i] = nothing.coefs;
      put_row(a, n, Real(1), kl.value, nothing);
      continue;
    }
    if (!exact && a.ref_logps) kl = kl_term(a.kl, logp[i] - at<Real>(a.ref_logps, n, 0));
    const Real ratio = shared_ratio  ? sequence.ratio
                       : a.old_logps ? saturated_exp(logp[i] - at<Real>(a.old_logps, n, 0))
                                     : Real(1);
    const RowLoss<Real> row = a.loss == PgLoss::kCoefficients
                                  ? given_loss(a, n, logp[i], entropy[i])
                                  : computed_loss(a, n, ratio, logp[i], entropy[i], kl);
    coefs[i] = row.coefs;
    d_shared += row.weight * row.d_log_ratio;
    put_row(a, n, ratio, kl.value, row);
  }
  if (!shared_ratio || sequence.scored == 0) return;
  for (int64_t n = begin; n < end; ++n)
    if (!ignored(a, n)) coefs[n - begin].coef -= d_shared / sequence.shares;
}

}  // namespace hf::pg
