// The policy gradient through a linear classifier: the logits of N rows, the loss of each row's token, and
// the gradients, without ever holding all N × V logits.
//
//   z = (h Wᵀ + bias) / temperature, and every figure is that of softmax(z)
//   m = max_v z,  S = Σ_v e^(z−m),  E = Σ_v e^(z−m) (z−m)
//   lse = m + log S        logp = z[n, y_n] − lse        entropy H = log S − E/S
//   g_nv = coef_n (p_nv − 1[v = y_n]) + ent_n p_nv (log p_nv + H_n)
//          + kl_n p_nv (log p_nv − log q_nv − KL_n)       with kl 'exact'; q is the reference's softmax(z)
//   coef_n = −∂L/∂logp_n        ent_n = −∂L/∂H_n        Σ_v g_nv = 0 for every term
//   d_hidden[n, :] = g_n W / temperature     d_weight += gᵀ h / temperature     d_bias += Σ_n g_n / temperature
//
// The entropy is never computed as lse − Σ p z, which cancels at large logits. Logits of −∞ have p = 0 and
// add nothing.
//
// What L is, says `loss`. With 'coefficients' the caller has differentiated it already:
//   L = −Σ coefficients · logp − Σ entropy_coefficients · H        both per token; an absent one is 0
// With any other loss
//   L = Σ weights[n] · (ℓ_n + beta · kl_n − entropy_coef · H_n) − Σ entropy_coefficients[n] · H_n
// `weights` are mask and normaliser, e.g. 1/tokens; absent, they are 1. ℓ_n is a function of the token's
// advantage A, its logp, and the ratio ρ = exp(logp − old_logp). Without old_logps ρ is exactly 1, and its
// gradient is that of logp. The losses and their parameters are the rows of native/ops/loss/losses.h.
//
// kl_n is an estimate of KL(π‖π_ref), by `kl`, with d = logp − ref_logp:
//   k1 = d      k2 = d²/2      k3 = e^(−d) − 1 + d      exact = Σ_v p (log p − log q)
// Its gradient is the derivative of that expression. On policy, in expectation, exact and k2 give
// ∇KL(π‖π_ref), k3 gives ∇KL(π_ref‖π), and k1 gives 0: k1 belongs into the reward. kl_bias_correction
// multiplies kl_n by ρ, gradient included; then k1 and k3 give ∇KL(π‖π_ref) too (TRL's
// use_bias_correction_kl).
//
// `importance` says whose ratio ρ is. With 'token' each token has its own. With 'sequence' it is the same for
// all tokens of a sequence: exp of the mean over its scored tokens of logp − old_logp, with a gradient
// through every one of them (GSPO 2507.18071). With 'product' it is exp of their sum, the probability ratio
// of the whole sequence (RLOO 2402.14740). Sequences are given by `offsets` into rows: 0 … N, ascending. A
// shared ratio costs a second pass over the classifier. A token is scored when its target is not −100,
// whatever its weight.
//
// Rows with target −100 are ignored: logp 0, ratio 1, no gradient, no loss. Their entropy, max_prob, argmax,
// lse and exact KL are still reported. A bias of −∞ masks that token everywhere: its logp is −∞. Products
// with a zero coefficient are 0. Ties of argmax go to the lowest id.
//
// hidden (N, C), weight (V, C), targets (N). weight and ref_weight may be bfloat16, which is widened exactly;
// d_weight is of hidden's type. d_hidden is overwritten; d_weight and d_bias are accumulated, in float32
// across chunks, never less. losses (N) are the rows' shares of L, KL and entropy terms included. clipped (N)
// is −1 where the loss stopped at its lower bound, +1 at its upper bound, else 0.
//
// Never materialised: [N, V]. Memory: the logits of one chunk of rows, see workspace_bytes; without gradients
// only a tile of the vocabulary of them. 2NVC FLOPs, and 2NVC more for each of d_hidden and d_weight.
#pragma once

#include "ops/fields.h"
#include "ops/loss/losses.h"

namespace hf {

struct LinearPolicyGradientArgs {
  View hidden, weight, bias, targets;
  View coefficients;                                        // loss 'coefficients'
  View entropy_coefficients;                                // any loss
  View advantages, old_logps, ref_logps, weights, offsets;  // the other losses
  View ref_hidden, ref_weight, ref_bias;                    // kl 'exact'
  View logps, entropy, max_prob, argmax, lse, kl_out, ratio, losses, clipped;
  View d_hidden, d_weight, d_bias;
  LossKind loss = LossKind::kCoefficients;
  KlEstimator kl = KlEstimator::kK3;
  ImportanceLevel importance = ImportanceLevel::kToken;
  LossParameters parameters;
  double temperature = 1;
  double beta = 0;
  double entropy_coef = 0;
  bool kl_bias_correction = false;

  static constexpr const char* kName = "linear_policy_gradient";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("hidden", s.hidden, "N C");
    f.in("weight", s.weight, "V C", kBf16);
    f.in("bias", s.bias, "V", kOptional);
    f.in("targets", s.targets, "N", kIndices);
    f.in("coefficients", s.coefficients, "N", kOptional);
    f.in("entropy_coefficients", s.entropy_coefficients, "N", kOptional);
    f.in("advantages", s.advantages, "N", kOptional);
    f.in("old_logps", s.old_logps, "N", kOptional);
    f.in("ref_logps", s.ref_logps, "N", kOptional);
    f.in("weights", s.weights, "N", kOptional);
    f.in("offsets", s.offsets, "S+1", kOptional | kIndices);
    f.in("ref_hidden", s.ref_hidden, "N R", kOptional);
    f.in("ref_weight", s.ref_weight, "V R", kOptional | kBf16);
    f.in("ref_bias", s.ref_bias, "V", kOptional);
    f.out("logps", s.logps, "N");
    f.out("entropy", s.entropy, "N", kOptional);
    f.out("max_prob", s.max_prob, "N", kOptional);
    f.out("argmax", s.argmax, "N", kOptional | kIndices);
    f.out("lse", s.lse, "N", kOptional);
    f.out("kl_out", s.kl_out, "N", kOptional);  // kl_n of the chosen estimator, before any correction
    f.out("ratio", s.ratio, "N", kOptional);
    f.out("losses", s.losses, "N", kOptional);
    f.out("clipped", s.clipped, "N", kOptional | kIndices);
    f.out("d_hidden", s.d_hidden, "N C", kOptional);
    f.inout("d_weight", s.d_weight, "V C", kOptional);
    f.inout("d_bias", s.d_bias, "V", kOptional);
    f.choice("loss", s.loss, kLossNames, kLossCount);
    f.choice("kl", s.kl, kKlEstimatorNames, kKlEstimatorCount);
    f.choice("importance", s.importance, kImportanceLevelNames, kImportanceLevelCount);
    f.number("temperature", s.temperature);
    for (const LossParameterRow& row : kLossParameters)
      f.number(row.name, s.parameters.*row.member);
    f.number("beta", s.beta);
    f.number("entropy_coef", s.entropy_coef);
    f.flag("kl_bias_correction", s.kl_bias_correction);
  }
};

// What shapes and options say, without reading any number.
void check_args(const LinearPolicyGradientArgs& a);
// What the numbers say: targets in range, finite coefficients of scored rows, a usable mask. O(N + V). Every
// implementation on the host calls it first, so that nothing is written when it throws.
void check_values(const LinearPolicyGradientArgs& a);
int64_t workspace_bytes(const LinearPolicyGradientArgs& a);
Cost cost(const LinearPolicyGradientArgs& a);

}  // namespace hf
