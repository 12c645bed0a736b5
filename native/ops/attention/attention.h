// Causal grouped-query attention over packed sequences: every row mixes the values of the rows before it.
//   y_i = Σ_{j ≤ i, same sequence} P_ij v_j,    P_ij = softmax_j(scale · ⟨q_i, k_j⟩)
//
// Fields:
//   q, y (N,H,D)      H query heads of D numbers for each of N rows, and the result, which is overwritten
//   k, v (N,G,D)      G key and value heads; query head h reads head h / (H/G)
//   offsets (S+1)     sequence s owns rows offsets[s] … offsets[s+1] − 1
//   lse (N,H)         optional: log Σ_j exp(scale · ⟨q_i, k_j⟩), which the derivatives need
//   scale             of the scores, usually 1/√D
// Heads may be slices of one fused qkv tensor: rows and heads are strided, the last dimension is contiguous.
// lse lets the backward pass recompute the probabilities tile by tile:
//   P = exp(scale · q kᵀ − lse),  D_i = ⟨d_y_i, y_i⟩,  dS = P ∘ (d_y vᵀ − D)
//   d_q = scale · dS k,  d_k = scale · dSᵀ q,  d_v = Pᵀ d_y
// and the forward-mode derivative (jvp):
//   t_s = scale (⟨t_q, k⟩ + ⟨q, t_k⟩),  t_y = Σ_j P_ij (t_s_ij − Σ_j' P_ij' t_s_ij') v_j + P_ij t_v_j
// Outputs are overwritten and alias nothing. The T × T scores are never materialised (Dao et al. 2022). Cost:
// 4 D flops per pair of a query and a key forward, 10 D backward and in the jvp.
#pragma once

#include "ops/fields.h"

namespace hf {

struct AttentionArgs {
  View q, k, v, offsets, y, lse;
  double scale = 1;

  static constexpr const char* kName = "attention";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("q", s.q, "N H D", kStored);
    f.in("k", s.k, "N G D", kStored);
    f.in("v", s.v, "N G D", kStored);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.out("y", s.y, "N H D", kStored);
    f.out("lse", s.lse, "N H", kOptional);
    f.number("scale", s.scale);
  }
};

struct AttentionBackwardArgs {
  View q, k, v, offsets, y, lse, d_y, d_q, d_k, d_v;
  double scale = 1;

  static constexpr const char* kName = "attention_backward";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("q", s.q, "N H D", kStored);
    f.in("k", s.k, "N G D", kStored);
    f.in("v", s.v, "N G D", kStored);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("y", s.y, "N H D", kStored);
    f.in("lse", s.lse, "N H");
    f.in("d_y", s.d_y, "N H D", kStored);
    f.out("d_q", s.d_q, "N H D", kStored);
    f.out("d_k", s.d_k, "N G D", kStored);
    f.out("d_v", s.d_v, "N G D", kStored);
    f.number("scale", s.scale);
  }
};

struct AttentionJvpArgs {
  View q, k, v, offsets, y, lse, t_q, t_k, t_v, t_y;
  double scale = 1;

  static constexpr const char* kName = "attention_jvp";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("q", s.q, "N H D", kStored);
    f.in("k", s.k, "N G D", kStored);
    f.in("v", s.v, "N G D", kStored);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("y", s.y, "N H D", kStored);
    f.in("lse", s.lse, "N H");
    f.in("t_q", s.t_q, "N H D");
    f.in("t_k", s.t_k, "N G D");
    f.in("t_v", s.t_v, "N G D");
    f.out("t_y", s.t_y, "N H D");
    f.number("scale", s.scale);
  }
};

// The checks that shapes alone do not make. Offsets are read here, so this runs where they are host memory.
template <class A>
inline void check_attention(const A& a, const char* name) {
  HF_CHECK(a.k.shape[1] > 0 && a.q.shape[1] % a.k.shape[1] == 0, ErrorCode::kShape,
           "%s: q has %lld heads, k and v have %lld; the first must be a multiple of the second", name,
           (long long)a.q.shape[1], (long long)a.k.shape[1]);
  const int32_t* offsets = a.offsets.template as<int32_t>();
  const int64_t sequences = a.offsets.shape[0] - 1, rows = a.q.shape[0];
  HF_CHECK(sequences >= 0 && offsets[0] == 0 && offsets[sequences] == rows, ErrorCode::kInvalidArg,
           "%s: offsets must begin with 0 and end with the %lld rows of q", name, (long long)rows);
  for (int64_t s = 0; s < sequences; ++s)
    HF_CHECK(offsets[s] <= offsets[s + 1], ErrorCode::kInvalidArg,
             "%s: offsets must not decrease, but offsets[%lld] = %d and offsets[%lld] = %d", name,
             (long long)s, offsets[s], (long long)(s + 1), offsets[s + 1]);
}
inline void check_args(const AttentionArgs& a) {
  check_attention(a, "attention");
}
inline void check_args(const AttentionBackwardArgs& a) {
  check_attention(a, "attention_backward");
}
inline void check_args(const AttentionJvpArgs& a) {
  check_attention(a, "attention_jvp");
}

// Causal (query, key) pairs of all sequences.
template <class A>
inline double attention_pairs(const A& a) {
  double pairs = 0;
  const int32_t* offsets = a.offsets.template as<int32_t>();
  for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s) {
    const double t = offsets[s + 1] - offsets[s];
    pairs += t * (t + 1) / 2;
  }
  return pairs;
}
inline Cost cost(const AttentionArgs& a) {
  return {attention_pairs(a) * a.q.shape[1] * (4.0 * a.q.shape[2] + 4), 8.0 * (a.q.size() + a.k.size())};
}
inline Cost cost(const AttentionBackwardArgs& a) {
  return {attention_pairs(a) * a.q.shape[1] * (10.0 * a.q.shape[2] + 6), 16.0 * (a.q.size() + a.k.size())};
}
inline Cost cost(const AttentionJvpArgs& a) {
  return {attention_pairs(a) * a.q.shape[1] * (10.0 * a.q.shape[2] + 6), 12.0 * (a.q.size() + a.k.size())};
}

}  // namespace hf
