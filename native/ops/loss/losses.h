// The losses of linear_policy_gradient, its KL estimators and its importance levels. This file is the only
// place on the native side that knows one from another: the reference, the CPU kernels and CUDA call the same
// inline functions, and the choices of the op's fields, the checks of its arguments and the binding are
// derived from the lists below.
//
// To add a loss: write a struct like those in namespace losses, add its line to HF_POLICY_LOSSES, and if it
// reads a number that no other loss reads, add that to HF_LOSS_PARAMETERS. The TypeScript side has a table of
// the same losses, src/policy/losses.ts; test/policy/losses.test.ts compares the two.
//
// Conventions are those of TRL (trl/trainer/grpo_trainer.py at f2cd577, _compute_loss).
#pragma once

#include <math.h>
#include <stdint.h>

#include <initializer_list>

#include "core/macros.h"

namespace hf {

// The numbers that losses read. Each is a field of the op and has a default, a least and a largest value.
// A parameter whose default is 0 is a feature that is off by default: a loss that does not read it refuses
// another value. Other parameters may be given to any loss.
#define HF_LOSS_PARAMETERS(X)         \
  X(epsilon_low, 0.2, 0.0, 1.0)       \
  X(epsilon_high, 0.2, 0.0, INFINITY) \
  X(delta, 0.0, 0.0, INFINITY)

// The losses that are computed from ratio and advantage. The other choice is 'coefficients', where the caller
// gives −∂L/∂logp.
#define HF_POLICY_LOSSES(X) \
  X(Clip, "clip")           \
  X(Cispo, "cispo")

// Estimators of KL(π‖π_ref) at one token: kl_term() has the formulas.
#define HF_KL_ESTIMATORS(X) \
  X(K1, "k1")               \
  X(K2, "k2")               \
  X(K3, "k3")               \
  X(Exact, "exact")

// Which tokens share a ratio ρ. 'token': none, each has its own. Otherwise all scored tokens of a sequence
// have one, the exponential of the mean ('sequence', GSPO 2507.18071) or of the sum ('product', RLOO
// 2402.14740: the probability ratio of the whole sequence) of their log-ratios: ratio_shares().
#define HF_IMPORTANCE_LEVELS(X) \
  X(Token, "token")             \
  X(Sequence, "sequence")       \
  X(Product, "product")

#define HF_ENUMERATOR(Name, text) k##Name,
#define HF_TEXT(Name, text) text,
enum class LossKind : int32_t { kCoefficients, HF_POLICY_LOSSES(HF_ENUMERATOR) };
enum class KlEstimator : int32_t { HF_KL_ESTIMATORS(HF_ENUMERATOR) };
enum class ImportanceLevel : int32_t { HF_IMPORTANCE_LEVELS(HF_ENUMERATOR) };

// As callers write them, in the order of the enums.
inline constexpr const char* kLossNames[] = {"coefficients", HF_POLICY_LOSSES(HF_TEXT)};
inline constexpr const char* kKlEstimatorNames[] = {HF_KL_ESTIMATORS(HF_TEXT)};
inline constexpr const char* kImportanceLevelNames[] = {HF_IMPORTANCE_LEVELS(HF_TEXT)};
inline constexpr int kLossCount = sizeof(kLossNames) / sizeof(*kLossNames);
inline constexpr int kKlEstimatorCount = sizeof(kKlEstimatorNames) / sizeof(*kKlEstimatorNames);
inline constexpr int kImportanceLevelCount = sizeof(kImportanceLevelNames) / sizeof(*kImportanceLevelNames);
#undef HF_TEXT
#undef HF_ENUMERATOR

struct LossParameters {
#define HF_MEMBER(name, initial, least, most) double name = initial;
  HF_LOSS_PARAMETERS(HF_MEMBER)
#undef HF_MEMBER
};

// One of them, as a member of the struct.
using LossParameter = double LossParameters::*;

// HF_LOSS_PARAMETERS as data, for what lists or checks them.
struct LossParameterRow {
  const char* name;
  LossParameter member;
  double initial, least, most;
};
#define HF_ROW(name, initial, least, most) {#name, &LossParameters::name, initial, least, most},
inline constexpr LossParameterRow kLossParameters[] = {HF_LOSS_PARAMETERS(HF_ROW)};
#undef HF_ROW

// What a loss knows of a token: its ratio ρ, its advantage A and its log-probability.
template <class Real>
struct Token {
  Real ratio, advantage, logp;
};

// The value of a loss or of a KL estimator at one token, and its partial derivatives: by the token's own
// logp, and by log ρ. The two are kept apart because tokens of one sequence may share ρ.
template <class Real>
struct Term {
  Real value, d_logp, d_log_ratio;
  int32_t clipped = 0;  // −1: the loss stopped at its lower bound, +1: at its upper bound
};

// Exponents saturate at e^80 = 5.5e34, so that a runaway ratio or a k3 spike stays finite in float32; below
// that they are exact.
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

namespace losses {

// ℓ = −min(ρ A, clip(ρ, 1 − epsilon_low, 1 + epsilon_high) A): PPO (1707.06347), GRPO (2402.03300), and with
// epsilon_high above epsilon_low DAPO's clip-higher (2503.14476). With delta ≥ 1 + epsilon_high the first ρ
// is min(ρ, delta), which bounds the loss of bad tokens too (two-sided clipping, 2505.07291). A token counts
// as clipped where ρ lies strictly beyond the bound on the side where clipping lowers the objective: below
// the lower one and A < 0, or above the upper one and A > 0. At a tie the gradient flows.
struct Clip {
  static constexpr std::initializer_list<LossParameter> kParameters = {
      &LossParameters::epsilon_low,
      &LossParameters::epsilon_high,
      &LossParameters::delta,
  };

  template <class Real>
  HF_INLINE static Term<Real> term(const LossParameters& p, const Token<Real>& token) {
    const Real low = static_cast<Real>(1 - p.epsilon_low);
    const Real high = static_cast<Real>(1 + p.epsilon_high);
    const Real cap = static_cast<Real>(p.delta > 0 ? p.delta : INFINITY);
    const bool capped = token.ratio > cap;
    const Real ratio = capped ? cap : token.ratio;
    if (token.advantage < 0 && ratio < low) return {-low * token.advantage, 0, 0, -1};
    if (token.advantage > 0 && ratio > high) return {-high * token.advantage, 0, 0, +1};
    const Real value = -ratio * token.advantage;
    return {value, 0, capped ? 0 : value};
  }

  // What values of several parameters together must satisfy, or null.
  HF_HOST_INLINE static const char* refusal(const LossParameters& p) {
    const bool holds = p.delta == 0 || p.delta >= 1 + p.epsilon_high;
    return holds ? nullptr : "delta must be 0 (no cap) or at least 1 + epsilon_high";
  }
};

// ℓ = −stop_gradient(min(ρ, epsilon_high)) A logp: MiniMax-M1 (2506.13585). epsilon_high is the cap itself,
// as in TRL and in ScaleRL (2510.13786), which recommends 5. A token counts as clipped only where A > 0,
// though the weight is capped whatever the sign of A.
struct Cispo {
  static constexpr std::initializer_list<LossParameter> kParameters = {&LossParameters::epsilon_high};

  template <class Real>
  HF_INLINE static Term<Real> term(const LossParameters& p, const Token<Real>& token) {
    const Real cap = static_cast<Real>(p.epsilon_high);
    const Real weight = (token.ratio < cap ? token.ratio : cap) * token.advantage;
    return {-weight * token.logp, -weight, 0, token.ratio > cap && token.advantage > 0};
  }
};

}  // namespace losses

// The loss of one token, without its weight, KL penalty and entropy bonus.
template <class Real>
HF_INLINE Term<Real> policy_term(LossKind loss, const LossParameters& parameters, const Token<Real>& token) {
  switch (loss) {
    case LossKind::kCoefficients: break;
#define HF_CASE(Name, text) \
  case LossKind::k##Name: return losses::Name::term(parameters, token);
      HF_POLICY_LOSSES(HF_CASE)
#undef HF_CASE
  }
  return {};
}

// The estimator at a token with d = logp − ref_logp. 'exact' is no function of logp: its value is a sum over
// the vocabulary, which the caller has, and its gradient goes to every logit.
template <class Real>
HF_INLINE Term<Real> kl_term(KlEstimator kl, Real d) {
  switch (kl) {
    case KlEstimator::kK1: return {d, 1, 0};
    case KlEstimator::kK2: return {d * d / 2, d, 0};
    case KlEstimator::kK3: {
      const Real m = saturated_expm1(-d);  // e^(−d) − 1
      return {m + d, -m, 0};
    }
    case KlEstimator::kExact: break;
  }
  return {};
}

// Of a level at which the `scored` tokens of a sequence share ρ: log ρ = Σ (logp − old_logp) / ratio_shares.
template <class Real>
HF_INLINE Real ratio_shares(ImportanceLevel level, Real scored) {
  return level == ImportanceLevel::kSequence && scored > 0 ? scored : Real(1);
}

// Whether the loss reads the parameter.
HF_HOST_INLINE bool reads(LossKind loss, LossParameter parameter) {
  std::initializer_list<LossParameter> parameters = {};
  switch (loss) {
    case LossKind::kCoefficients: break;
#define HF_CASE(Name, text) \
  case LossKind::k##Name: parameters = losses::Name::kParameters; break;
      HF_POLICY_LOSSES(HF_CASE)
#undef HF_CASE
  }
  for (const LossParameter each : parameters)
    if (each == parameter) return true;
  return false;
}

// Why these values do not go together in the loss, or null.
HF_HOST_INLINE const char* refusal(LossKind loss, const LossParameters& parameters) {
  const auto refusal_of = [&]<class Row>(Row) -> const char* {
    if constexpr (requires { Row::refusal(parameters); })
      return Row::refusal(parameters);
    else
      return nullptr;
  };
  switch (loss) {
    case LossKind::kCoefficients: break;
#define HF_CASE(Name, text) \
  case LossKind::k##Name: return refusal_of(losses::Name{});
      HF_POLICY_LOSSES(HF_CASE)
#undef HF_CASE
  }
  return nullptr;
}

}  // namespace hf
