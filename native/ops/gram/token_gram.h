// The kernel of one parameter in ghost form: inner products of per-sample gradients without the gradients.
//   K[s,s'] (+)= Σ_{n ∈ s, n' ∈ s'} (⟨a_n, a'_n'⟩ + b) ⟨d_n, d'_n'⟩    b = 1 with `bias` (the layer has one), else 0
// because ⟨d ⊗ a, d' ⊗ a'⟩ = ⟨a,a'⟩⟨d,d'⟩ (Goodfellow 2015; Novak et al. 2022, "structured derivatives").
//
// Fields:
//   a (M,I), d (N,O)               rows of inputs and of output gradients
//   offsets (S+1), a_rows (N)      who owns which rows (ops/gram/gradient_pairs.h)
//   a2, d2, offsets2, a_rows2      a second set of functions, for a rectangular K
//   gram (S,S2|S)                  K in float64: overwritten, or with `accumulate` added to
// If a is absent it is the constant 1: then the rows are the per-sample gradients themselves (of a bias, or
// of a gain after op segment_reduce), and K is their plain Gram matrix. K is linear in ⟨d,d'⟩, so a wide d (a
// classifier's, over the vocabulary) may come in slices of columns, one call each. Inner products are in the
// run's real type, their products are summed into float64 entries. G_s and any rows × rows matrix are never
// materialised: pairs of tiles of 96 × 96 rows are multiplied, reduced and forgotten. Nothing may alias.
// Cost: (I + O) N² flops symmetric, 2 (I + O) N N2 rectangular, against 2 N I O + S² I O of jacobian_gram. So
// this form wins for short functions, below
//   T* ≈ (d/S + √((d/S)² + 2d)) / 2 rows each    (I = O = d)
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct TokenGramArgs {
  View a, d, offsets, a_rows, a2, d2, offsets2, a_rows2, gram;
  bool bias = false;
  bool accumulate = false;

  static constexpr const char* kName = "token_gram";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("a", s.a, "M I", kOptional | kStored);
    f.in("d", s.d, "N O", kStored);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("a_rows", s.a_rows, "N", kOptional | kIndices);
    f.in("a2", s.a2, "M2 I", kOptional | kStored);
    f.in("d2", s.d2, "N2 O", kOptional | kStored);
    f.in("offsets2", s.offsets2, "S2+1", kOptional | kIndices);
    f.in("a_rows2", s.a_rows2, "N2", kOptional | kIndices);
    f.inout("gram", s.gram, "S S2|S", kDouble);
    f.flag("bias", s.bias);
    f.flag("accumulate", s.accumulate);
  }
};

inline void check_args(const TokenGramArgs& a) {
  check_pairs(a);
  HF_CHECK(a.a || !a.bias, ErrorCode::kInvalidArg,
           "token_gram: bias adds 1 to the products of a, which is absent and counts as 1 already");
}
inline Cost cost(const TokenGramArgs& a) {
  const double inner = double(a.d.shape[1]) + (a.a ? double(a.a.shape[1]) : 0);
  return {row_pairs(a.offsets, a.offsets2) * (2 * inner + 2),
          4.0 * (a.d.size() + a.d2.size() * bool(a.d2) + a.a.size() * bool(a.a) + a.a2.size() * bool(a.a2)) +
              8.0 * a.gram.size()};
}
// The share of the measured GEMM rate that these flops run at, for a planner's seconds. Measured beside gemm
// 1024³ in one process, one thread: 0.67 at d 1024, n 128 × T 16 and 0.75 at n 32 × T 32 with AVX-512, 0.85
// both with AVX2 (Sapphire Rapids, 26 November 2026, bench/results).
inline double relative_rate(const TokenGramArgs&) {
  return 0.75;
}

}  // namespace hf
