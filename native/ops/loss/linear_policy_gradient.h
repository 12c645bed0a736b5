// Policy gradient through the classifier, without ever holding [N,V].             z = (h Wᵀ + bias) / temperature
//   m = max_v z, S = Σ e^(z−m), E = Σ e^(z−m)(z−m):   lse = m + log S,  logp = z[n,y_n] − lse,  entropy = log S − E/S
//   (never lse − Σ p z: it cancels at large logits; −∞ logits have p = 0 and add nothing)
//   g_nv = coef_n (p_nv − 1[v = y_n]) + ent_n p_nv (log p_nv + H_n)          coef_n = −dL/dlogp_n, ent_n = −dL/dH_n
//        (+ exact KL:  kl_n p_nv (log p_nv − log q_nv − KL_n), q the reference's softmax at the same temperature)
//   d_hidden[n,:] = g_n W / temperature        d_weight += gᵀ h / temperature       d_bias += Σ_n g_n / temperature
// Σ_v g_nv = 0 for every term.
//
// What L is, by `loss`:
//   coefficients: L = −Σ coefficients·logp − Σ entropy_coefficients·H    (both per token; either may be absent = 0)
//   otherwise each token n contributes  weights[n] · ℓ_n  (weights: mask and normaliser, e.g. 1/tokens; absent = 1), with
//     ρ = exp(logp − old_logp)  (old_logps absent: ρ = 1 exactly and its gradient that of logp)
//     clip:      ℓ = −min(ρ A, clip(ρ, 1−epsilon_low, 1+epsilon_high) A)    (PPO, GRPO 2402.03300, DAPO's clip-higher 2503.14476)
//                delta ≥ 1 + epsilon_high: the first ρ is min(ρ, delta), which bounds the loss of bad tokens too (two-sided, 2505.07291)
//     cispo:     ℓ = −stop_gradient(min(ρ, epsilon_high)) A logp     (MiniMax-M1 2506.13585; epsilon_high is the cap itself, as in
//                TRL and ScaleRL 2510.13786, which recommends 5)
//     each plus  beta · kl_n − entropy_coef · H_n,  and entropy_coefficients[n] · H_n is taken off L whatever weights[n]
//     kl_n by `kl`, d = logp − ref_logp:  k1 = d, k2 = d²/2, k3 = e^(−d) − 1 + d, exact = Σ_v p (log p − log q).
//     The gradient is the derivative of that expression. On policy, in expectation: exact and k2 give ∇KL(π‖π_ref), k3 gives
//     ∇KL(π_ref‖π), k1 gives 0 (k1 belongs into the reward). kl_bias_correction multiplies kl_n by ρ, gradient included: then
//     k1 and k3 give ∇KL(π‖π_ref) too (TRL's use_bias_correction_kl).
//   importance 'sequence': ρ is the same for all tokens of a sequence, exp(mean over its scored tokens of logp − old_logp) with
//     gradient through every scored token (GSPO 2507.18071); sequences are given by `offsets` into rows, 0 … N, ascending.
//     This costs a second pass over the classifier. A token is scored when its target is not −100, whatever its weight.
//   importance 'product': the same with the sum instead of the mean: ρ is the whole sequence's probability ratio (RLOO 2402.14740).
//   The scalar function is ops/loss/pg_coef.h, one for reference, CPU and CUDA.
// Rows with target −100 are ignored: logp 0, ratio 1, no gradient, no loss; entropy, max_prob, argmax, lse
// and the exact KL are still reported. Logits of −∞ come from a bias of −∞, which masks that token
// everywhere; its logp is −∞. Products with a zero coefficient are 0. Ties of argmax go to the lowest id.
//
// hidden (N,C) weight (V,C) targets (N). weight and ref_weight may be bfloat16, widened exactly; d_weight is
// of hidden's type. d_hidden overwritten; d_weight and d_bias accumulated (float32 across chunks, never
// less). losses (N): weights[n]·ℓ_n, including KL and entropy terms. clipped (N): −1 clipped low, +1 high, 0
// not. Never materialised: [N,V]. Memory: one chunk of rows × V, see workspace_bytes. flops 2NVC, + 2NVC for
// each of d_hidden, d_weight; without gradients only a tile of the vocabulary is held.
#pragma once

#include "ops/fields.h"

namespace hf {

enum class PgLoss : int32_t { kCoefficients, kClip, kCispo };
enum class KlEstimator : int32_t { kK1, kK2, kK3, kExact };
enum class ImportanceLevel : int32_t { kToken, kSequence, kProduct };

struct LinearPolicyGradientArgs {
  View hidden, weight, bias, targets;
  View coefficients, entropy_coefficients;                  // loss = coefficients (the second: any)
  View advantages, old_logps, ref_logps, weights, offsets;  // loss = clip, cispo
  View ref_hidden, ref_weight, ref_bias;                    // kl = exact
  View logps, entropy, max_prob, argmax, lse, kl_out, ratio, losses, clipped;
  View d_hidden, d_weight, d_bias;
  PgLoss loss = PgLoss::kCoefficients;
  KlEstimator kl = KlEstimator::kK3;
  ImportanceLevel importance = ImportanceLevel::kToken;
  double temperature = 1, epsilon_low = 0.2, epsilon_high = 0.2, delta = 0, beta = 0, entropy_coef = 0;
  bool kl_bias_correction = false;

  static constexpr const char* kName = "linear_policy_gradient";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    static constexpr const char* kLosses[] = {"coefficients", "clip", "cispo"};
    static constexpr const char* kEstimators[] = {"k1", "k2", "k3", "exact"};
    static constexpr const char* kLevels[] = {"token", "sequence", "product"};
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
    f.choice("loss", s.loss, kLosses, 3);
    f.choice("kl", s.kl, kEstimators, 4);
    f.choice("importance", s.importance, kLevels, 3);
    f.number("temperature", s.temperature);
    f.number("epsilon_low", s.epsilon_low);
    f.number("epsilon_high", s.epsilon_high);
    f.number("delta", s.delta);
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
