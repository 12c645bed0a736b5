#include "ops/loss/linear_policy_gradient.h"

#include <cmath>

#include "ops/loss/pg_coef.h"
#include "ops/loss/pg_plan.h"

namespace hf {
namespace {

constexpr const char* kOp = LinearPolicyGradientArgs::kName;

void refuse(const View& view, const char* name, const char* why) {
  HF_CHECK(!view, ErrorCode::kInvalidArg, "%s: %s is not used %s; leave it out", kOp, name, why);
}

template <class Real>
void check_finite(const LinearPolicyGradientArgs& a, const View& view, const char* name) {
  if (!view) return;
  for (int64_t n = 0; n < view.shape[0]; ++n) {
    if (a.targets.as<int32_t>()[n * a.targets.stride[0]] == pg::kIgnored) continue;
    const double value = view.as<Real>()[n * view.stride[0]];
    HF_CHECK(std::isfinite(value), ErrorCode::kInvalidArg,
             "%s: %s must be finite, got %g in row %lld; a row without a loss has target -100", kOp, name,
             value, static_cast<long long>(n));
  }
}

// A bias may be −∞ (a masked token), but not NaN or +∞, and not −∞ everywhere.
template <class Real>
void check_mask(const View& bias, const char* name) {
  if (!bias) return;
  bool open = bias.shape[0] == 0;
  for (int64_t v = 0; v < bias.shape[0]; ++v) {
    const double value = bias.as<Real>()[v * bias.stride[0]];
    HF_CHECK(value < INFINITY, ErrorCode::kInvalidArg,
             "%s: %s must be finite or -Infinity (a masked token), got %g at token %lld", kOp, name, value,
             static_cast<long long>(v));
    open |= value > -INFINITY;
  }
  HF_CHECK(open, ErrorCode::kInvalidArg, "%s: %s masks every token; at least one must be finite", kOp, name);
}

template <class Real>
void check_values_of(const LinearPolicyGradientArgs& a) {
  const int64_t N = a.hidden.shape[0], V = a.weight.shape[0];
  check_mask<Real>(a.bias, "bias");
  check_mask<Real>(a.ref_bias, "ref_bias");
  const auto masked = [](const View& bias, int64_t v) {
    return bias && bias.as<Real>()[v * bias.stride[0]] == -INFINITY;
  };
  if (a.ref_bias)
    for (int64_t v = 0; v < V; ++v)
      HF_CHECK(
          !masked(a.ref_bias, v) || masked(a.bias, v), ErrorCode::kInvalidArg,
          "%s: ref_bias masks token %lld but bias does not, so the exact KL is infinite; mask it in both",
          kOp, static_cast<long long>(v));
  for (int64_t n = 0; n < N; ++n) {
    const int32_t y = a.targets.as<int32_t>()[n * a.targets.stride[0]];
    if (y == pg::kIgnored) continue;
    HF_CHECK(y >= 0 && y < V, ErrorCode::kInvalidArg,
             "%s: targets must be -100 (ignored) or in [0, %lld), got %d in row %lld", kOp,
             static_cast<long long>(V), y, static_cast<long long>(n));
    HF_CHECK(
        a.loss == PgLoss::kCoefficients || !masked(a.bias, y), ErrorCode::kInvalidArg,
        "%s: the target %d of row %lld is masked by bias, so its ratio and KL are undefined; ignore the row with target -100",
        kOp, y, static_cast<long long>(n));
  }
  check_finite<Real>(a, a.coefficients, "coefficients");
  check_finite<Real>(a, a.entropy_coefficients, "entropy_coefficients");
  check_finite<Real>(a, a.advantages, "advantages");
  check_finite<Real>(a, a.old_logps, "old_logps");
  check_finite<Real>(a, a.ref_logps, "ref_logps");
  check_finite<Real>(a, a.weights, "weights");
  if (!a.offsets) return;
  const int32_t* offsets = a.offsets.as<int32_t>();
  const int64_t S = a.offsets.shape[0] - 1, step = a.offsets.stride[0];
  HF_CHECK(offsets[0] == 0 && offsets[S * step] == N, ErrorCode::kInvalidArg,
           "%s: offsets must run from 0 to the %lld rows of hidden, got %d to %d", kOp,
           static_cast<long long>(N), offsets[0], offsets[S * step]);
  for (int64_t s = 0; s < S; ++s)
    HF_CHECK(offsets[s * step] <= offsets[(s + 1) * step], ErrorCode::kInvalidArg,
             "%s: offsets must ascend, got %d after %d at entry %lld", kOp, offsets[(s + 1) * step],
             offsets[s * step], static_cast<long long>(s + 1));
}

}  // namespace

void check_args(const LinearPolicyGradientArgs& a) {
  HF_CHECK(a.weight.shape[0] > 0 || a.hidden.shape[0] == 0, ErrorCode::kShape,
           "%s: weight must have at least one row (the vocabulary), got 0", kOp);
  HF_CHECK(a.weight.shape[0] <= INT32_MAX, ErrorCode::kShape,
           "%s: weight has %lld rows; token ids are 32-bit", kOp, (long long)a.weight.shape[0]);
  HF_CHECK(a.temperature > 0 && std::isfinite(a.temperature), ErrorCode::kInvalidArg,
           "%s: temperature must be positive and finite, got %g", kOp, a.temperature);
  HF_CHECK(std::isfinite(a.beta), ErrorCode::kInvalidArg, "%s: beta must be finite, got %g", kOp, a.beta);
  HF_CHECK(std::isfinite(a.entropy_coef), ErrorCode::kInvalidArg, "%s: entropy_coef must be finite, got %g",
           kOp, a.entropy_coef);
  HF_CHECK(a.epsilon_low >= 0 && a.epsilon_low <= 1, ErrorCode::kInvalidArg,
           "%s: epsilon_low must be in [0, 1], got %g", kOp, a.epsilon_low);
  HF_CHECK(a.epsilon_high >= 0 && std::isfinite(a.epsilon_high), ErrorCode::kInvalidArg,
           "%s: epsilon_high must be >= 0 and finite, got %g", kOp, a.epsilon_high);

  HF_CHECK(a.delta == 0 || (a.delta >= 1 + a.epsilon_high && std::isfinite(a.delta)), ErrorCode::kInvalidArg,
           "%s: delta must be 0 (no cap) or at least 1 + epsilon_high, got %g", kOp, a.delta);
  HF_CHECK(a.delta == 0 || a.loss == PgLoss::kClip, ErrorCode::kInvalidArg, "%s: delta needs loss 'clip'",
           kOp);

  const bool wants_kl = a.beta != 0 || a.kl_out;
  if (a.loss == PgLoss::kCoefficients) {
    const char* why = "by loss 'coefficients'";
    refuse(a.advantages, "advantages", why);
    refuse(a.weights, "weights", why);
    refuse(a.clipped, "clipped", why);
    HF_CHECK(a.beta == 0, ErrorCode::kInvalidArg,
             "%s: beta needs loss 'clip' or 'cispo'; with given coefficients the KL term is part of them",
             kOp);
    HF_CHECK(a.entropy_coef == 0, ErrorCode::kInvalidArg,
             "%s: entropy_coef needs loss 'clip' or 'cispo'; here give entropy_coefficients per token", kOp);
    HF_CHECK(
        !(a.d_hidden || a.d_weight || a.d_bias) || a.coefficients || a.entropy_coefficients,
        ErrorCode::kInvalidArg,
        "%s: gradients need coefficients or entropy_coefficients (or loss 'clip' or 'cispo' with advantages)",
        kOp);
  } else {
    const char* why = "by loss 'clip' and 'cispo', which compute it";
    refuse(a.coefficients, "coefficients", why);
    HF_CHECK(a.advantages, ErrorCode::kInvalidArg, "%s: advantages of shape (N) are required by loss '%s'",
             kOp, a.loss == PgLoss::kClip ? "clip" : "cispo");
  }
  if (a.importance != ImportanceLevel::kToken) {
    HF_CHECK(a.loss != PgLoss::kCoefficients, ErrorCode::kInvalidArg,
             "%s: importance 'sequence' or 'product' needs loss 'clip' or 'cispo'", kOp);
    HF_CHECK(a.offsets, ErrorCode::kInvalidArg,
             "%s: offsets of shape (S+1) are required by importance 'sequence' and 'product'", kOp);
  } else {
    refuse(a.offsets, "offsets", "by importance 'token'");
  }
  if (a.kl == KlEstimator::kExact) {
    refuse(a.ref_logps, "ref_logps", "by kl 'exact', which takes the reference's whole distribution");
    HF_CHECK(!wants_kl || (a.ref_hidden && a.ref_weight), ErrorCode::kInvalidArg,
             "%s: kl 'exact' needs ref_hidden and ref_weight", kOp);
    HF_CHECK(bool(a.ref_hidden) == bool(a.ref_weight) && (!a.ref_bias || a.ref_weight),
             ErrorCode::kInvalidArg, "%s: ref_hidden and ref_weight go together (ref_bias with both)", kOp);
    HF_CHECK(!a.kl_bias_correction, ErrorCode::kInvalidArg,
             "%s: kl_bias_correction is for the estimators k1, k2 and k3; kl 'exact' has no bias", kOp);
  } else {
    const char* why = "by the KL estimators k1, k2 and k3 (kl 'exact' takes it)";
    refuse(a.ref_hidden, "ref_hidden", why);
    refuse(a.ref_weight, "ref_weight", why);
    refuse(a.ref_bias, "ref_bias", why);
    HF_CHECK(!wants_kl || a.ref_logps, ErrorCode::kInvalidArg,
             "%s: beta and kl_out need ref_logps (or kl 'exact' with ref_hidden and ref_weight)", kOp);
  }
}

void check_values(const LinearPolicyGradientArgs& a) {
  if (a.hidden.dtype == DType::kF64)
    check_values_of<double>(a);
  else
    check_values_of<float>(a);
}

int64_t workspace_bytes(const LinearPolicyGradientArgs& a) {
  const pg::Plan plan(a);
  const int64_t rows = plan.keep ? plan.rows : plan.forward_rows,
                scalars = a.importance != ImportanceLevel::kToken ? a.hidden.shape[0] : rows;
  const int64_t biases = (a.bias ? 1 : 0) + (a.ref_bias ? 1 : 0);
  return 4 * (plan.floats() + plan.tiles * rows + biases * a.weight.shape[0]) +
         rows * (4 + 24 * (plan.exact ? 2 : 1)) + scalars * 24;
}

Cost cost(const LinearPolicyGradientArgs& a) {
  const double n = double(a.hidden.shape[0]), c = double(a.hidden.shape[1]), v = double(a.weight.shape[0]);
  const double r = a.ref_hidden ? double(a.ref_hidden.shape[1]) : 0;
  const double forwards = a.importance != ImportanceLevel::kToken ? 2 : 1;
  return {2 * n * v * (c * (forwards + bool(a.d_hidden) + bool(a.d_weight)) + r),
          4 * (n * c * (1 + bool(a.d_hidden)) + v * c * (1 + 2 * bool(a.d_weight)) + (n + v) * r)};
}

}  // namespace hf
