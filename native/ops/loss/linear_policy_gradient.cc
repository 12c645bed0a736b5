#include "ops/loss/linear_policy_gradient.h"

#include <cmath>
#include <string>

#include "ops/loss/row_chunks.h"
#include "ops/loss/token_loss.h"

namespace hf {
namespace {

constexpr const char* kOp = LinearPolicyGradientArgs::kName;

void refuse(const View& view, const char* name, const char* why) {
  HF_CHECK(!view, ErrorCode::kInvalidArg, "%s: %s is not used %s; leave it out", kOp, name, why);
}

const char* name_of(LossKind loss) {
  return kLossNames[static_cast<int>(loss)];
}

// "'clip' or 'cispo'": the losses that `wanted` accepts, as messages name them.
template <class Wanted>
std::string loss_names(Wanted&& wanted, const char* conjunction) {
  std::string all;
  for (int i = 1; i < kLossCount; ++i) {
    if (!wanted(static_cast<LossKind>(i))) continue;
    if (!all.empty()) all += conjunction;
    all += "'" + std::string(kLossNames[i]) + "'";
  }
  return all;
}
std::string policy_losses(const char* conjunction = " or ") {
  return loss_names([](LossKind) { return true; }, conjunction);
}

// ---- what shapes and options say --------------------------------------------------------------------------

void check_sizes(const LinearPolicyGradientArgs& a) {
  const int64_t N = a.hidden.shape[0], V = a.weight.shape[0];
  HF_CHECK(V > 0 || N == 0, ErrorCode::kShape,
           "%s: weight must have at least one row (the vocabulary), got 0", kOp);
  HF_CHECK(V <= INT32_MAX, ErrorCode::kShape, "%s: weight has %lld rows; token ids are 32-bit", kOp,
           static_cast<long long>(V));
}

void check_numbers(const LinearPolicyGradientArgs& a) {
  HF_CHECK(a.temperature > 0 && std::isfinite(a.temperature), ErrorCode::kInvalidArg,
           "%s: temperature must be positive and finite, got %g", kOp, a.temperature);
  HF_CHECK(std::isfinite(a.beta), ErrorCode::kInvalidArg, "%s: beta must be finite, got %g", kOp, a.beta);
  HF_CHECK(std::isfinite(a.entropy_coef), ErrorCode::kInvalidArg, "%s: entropy_coef must be finite, got %g",
           kOp, a.entropy_coef);
}

// The range of every loss parameter, and what the loss says of them together (ops/loss/losses.h).
void check_parameters(const LinearPolicyGradientArgs& a) {
  for (const LossParameterRow& row : kLossParameters) {
    const double value = a.parameters.*row.member;
    if (std::isfinite(row.most))
      HF_CHECK(value >= row.least && value <= row.most, ErrorCode::kInvalidArg,
               "%s: %s must be in [%g, %g], got %g", kOp, row.name, row.least, row.most, value);
    else
      HF_CHECK(value >= row.least && std::isfinite(value), ErrorCode::kInvalidArg,
               "%s: %s must be >= %g and finite, got %g", kOp, row.name, row.least, value);
    const bool off_by_default = row.initial == 0;
    const auto reader = [&](LossKind loss) { return reads(loss, row.member); };
    HF_CHECK(!off_by_default || value == 0 || reader(a.loss), ErrorCode::kInvalidArg, "%s: %s needs loss %s",
             kOp, row.name, loss_names(reader, " or ").c_str());
  }
  const char* rule = refusal(a.loss, a.parameters);
  HF_CHECK(!rule, ErrorCode::kInvalidArg, "%s: %s", kOp, rule);
}

void check_given_coefficients(const LinearPolicyGradientArgs& a) {
  const char* why = "by loss 'coefficients'";
  refuse(a.advantages, "advantages", why);
  refuse(a.weights, "weights", why);
  refuse(a.clipped, "clipped", why);
  HF_CHECK(a.beta == 0, ErrorCode::kInvalidArg,
           "%s: beta needs loss %s; with given coefficients the KL term is part of them", kOp,
           policy_losses().c_str());
  HF_CHECK(a.entropy_coef == 0, ErrorCode::kInvalidArg,
           "%s: entropy_coef needs loss %s; here give entropy_coefficients per token", kOp,
           policy_losses().c_str());
  const bool gradients = a.d_hidden || a.d_weight || a.d_bias;
  HF_CHECK(!gradients || a.coefficients || a.entropy_coefficients, ErrorCode::kInvalidArg,
           "%s: gradients need coefficients or entropy_coefficients (or loss %s with advantages)", kOp,
           policy_losses().c_str());
}

void check_policy_loss(const LinearPolicyGradientArgs& a) {
  const std::string why = "by loss " + policy_losses(" and ") + ", which compute it";
  refuse(a.coefficients, "coefficients", why.c_str());
  HF_CHECK(a.advantages, ErrorCode::kInvalidArg, "%s: advantages of shape (N) are required by loss '%s'", kOp,
           name_of(a.loss));
}

void check_importance(const LinearPolicyGradientArgs& a) {
  if (a.importance == ImportanceLevel::kToken) {
    refuse(a.offsets, "offsets", "by importance 'token'");
    return;
  }
  HF_CHECK(a.loss != LossKind::kCoefficients, ErrorCode::kInvalidArg,
           "%s: importance 'sequence' or 'product' needs loss %s", kOp, policy_losses().c_str());
  HF_CHECK(a.offsets, ErrorCode::kInvalidArg,
           "%s: offsets of shape (S+1) are required by importance 'sequence' and 'product'", kOp);
}

void check_reference(const LinearPolicyGradientArgs& a) {
  const bool wants_kl = a.beta != 0 || a.kl_out;
  if (a.kl == KlEstimator::kExact) {
    refuse(a.ref_logps, "ref_logps", "by kl 'exact', which takes the reference's whole distribution");
    HF_CHECK(!wants_kl || (a.ref_hidden && a.ref_weight), ErrorCode::kInvalidArg,
             "%s: kl 'exact' needs ref_hidden and ref_weight", kOp);
    HF_CHECK(bool(a.ref_hidden) == bool(a.ref_weight) && (!a.ref_bias || a.ref_weight),
             ErrorCode::kInvalidArg, "%s: ref_hidden and ref_weight go together (ref_bias with both)", kOp);
    HF_CHECK(!a.kl_bias_correction, ErrorCode::kInvalidArg,
             "%s: kl_bias_correction is for the estimators k1, k2 and k3; kl 'exact' has no bias", kOp);
    return;
  }
  const char* why = "by the KL estimators k1, k2 and k3 (kl 'exact' takes it)";
  refuse(a.ref_hidden, "ref_hidden", why);
  refuse(a.ref_weight, "ref_weight", why);
  refuse(a.ref_bias, "ref_bias", why);
  HF_CHECK(!wants_kl || a.ref_logps, ErrorCode::kInvalidArg,
           "%s: beta and kl_out need ref_logps (or kl 'exact' with ref_hidden and ref_weight)", kOp);
}

// ---- what the numbers say ---------------------------------------------------------------------------------

// Of the rows that are not ignored.
template <class Real>
void check_finite(const LinearPolicyGradientArgs& a, const View& view, const char* name) {
  if (!view) return;
  for (int64_t n = 0; n < view.shape[0]; ++n) {
    if (loss::ignored(a, n)) continue;
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
bool masked(const View& bias, int64_t v) {
  return bias && bias.as<Real>()[v * bias.stride[0]] == -INFINITY;
}

// p log(p / q) is infinite where q is 0 and p is not.
template <class Real>
void check_reference_mask(const LinearPolicyGradientArgs& a) {
  if (!a.ref_bias) return;
  for (int64_t v = 0; v < a.weight.shape[0]; ++v)
    HF_CHECK(!masked<Real>(a.ref_bias, v) || masked<Real>(a.bias, v), ErrorCode::kInvalidArg,
             "%s: ref_bias masks token %lld but bias does not, so the exact KL is infinite; mask it in both",
             kOp, static_cast<long long>(v));
}

template <class Real>
void check_targets(const LinearPolicyGradientArgs& a) {
  const int64_t N = a.hidden.shape[0], V = a.weight.shape[0];
  for (int64_t n = 0; n < N; ++n) {
    if (loss::ignored(a, n)) continue;
    const int32_t y = a.targets.as<int32_t>()[n * a.targets.stride[0]];
    HF_CHECK(y >= 0 && y < V, ErrorCode::kInvalidArg,
             "%s: targets must be -100 (ignored) or in [0, %lld), got %d in row %lld", kOp,
             static_cast<long long>(V), y, static_cast<long long>(n));
    HF_CHECK(a.loss == LossKind::kCoefficients || !masked<Real>(a.bias, y), ErrorCode::kInvalidArg,
             "%s: the target %d of row %lld is masked by bias, so its ratio and KL are undefined; "
             "ignore the row with target -100",
             kOp, y, static_cast<long long>(n));
  }
}

void check_offsets(const LinearPolicyGradientArgs& a) {
  if (!a.offsets) return;
  const int64_t N = a.hidden.shape[0], S = a.offsets.shape[0] - 1;
  const auto offset = [&](int64_t s) { return a.offsets.as<int32_t>()[s * a.offsets.stride[0]]; };
  HF_CHECK(offset(0) == 0 && offset(S) == N, ErrorCode::kInvalidArg,
           "%s: offsets must run from 0 to the %lld rows of hidden, got %d to %d", kOp,
           static_cast<long long>(N), offset(0), offset(S));
  for (int64_t s = 0; s < S; ++s)
    HF_CHECK(offset(s) <= offset(s + 1), ErrorCode::kInvalidArg,
             "%s: offsets must ascend, got %d after %d at entry %lld", kOp, offset(s + 1), offset(s),
             static_cast<long long>(s + 1));
}

template <class Real>
void check_values_of(const LinearPolicyGradientArgs& a) {
  check_mask<Real>(a.bias, "bias");
  check_mask<Real>(a.ref_bias, "ref_bias");
  check_reference_mask<Real>(a);
  check_targets<Real>(a);
  check_finite<Real>(a, a.coefficients, "coefficients");
  check_finite<Real>(a, a.entropy_coefficients, "entropy_coefficients");
  check_finite<Real>(a, a.advantages, "advantages");
  check_finite<Real>(a, a.old_logps, "old_logps");
  check_finite<Real>(a, a.ref_logps, "ref_logps");
  check_finite<Real>(a, a.weights, "weights");
  check_offsets(a);
}

}  // namespace

void check_args(const LinearPolicyGradientArgs& a) {
  check_sizes(a);
  check_numbers(a);
  check_parameters(a);
  if (a.loss == LossKind::kCoefficients)
    check_given_coefficients(a);
  else
    check_policy_loss(a);
  check_importance(a);
  check_reference(a);
}

void check_values(const LinearPolicyGradientArgs& a) {
  if (a.hidden.dtype == DType::kF64)
    check_values_of<double>(a);
  else
    check_values_of<float>(a);
}

int64_t workspace_bytes(const LinearPolicyGradientArgs& a) {
  const loss::RowChunks chunks(a);
  const int64_t rows = chunks.held_rows();
  const int64_t scalars = a.importance != ImportanceLevel::kToken ? a.hidden.shape[0] : rows;
  const int64_t biases = (a.bias ? 1 : 0) + (a.ref_bias ? 1 : 0);
  const int64_t floats = chunks.floats() + chunks.tiles * rows + biases * a.weight.shape[0];
  const int64_t row_bytes = 4 + 24 * (chunks.exact ? 2 : 1);  // the target's logit, and statistics
  return 4 * floats + row_bytes * rows + 24 * scalars;
}

Cost cost(const LinearPolicyGradientArgs& a) {
  const double N = double(a.hidden.shape[0]), C = double(a.hidden.shape[1]), V = double(a.weight.shape[0]);
  const double R = a.ref_hidden ? double(a.ref_hidden.shape[1]) : 0;
  const double d_hidden = a.d_hidden ? 1 : 0, d_weight = a.d_weight ? 1 : 0;
  const double forwards = a.importance != ImportanceLevel::kToken ? 2 : 1;
  return {
      .flops = 2 * N * V * (C * (forwards + d_hidden + d_weight) + R),
      .bytes = 4 * (N * C * (1 + d_hidden) + V * C * (1 + 2 * d_weight) + (N + V) * R),
  };
}

}  // namespace hf
