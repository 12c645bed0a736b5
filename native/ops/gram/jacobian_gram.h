// The kernel of one parameter from per-sample gradients that are made block by block.
//   G_s = Σ_{n ∈ s} d_n ⊗ a_n  (O,I), with `bias` one more column Σ_{n ∈ s} d_n
//   K[s,s'] (+)= ⟨G_s, G'_s'⟩
//
// Fields:
//   a (M,I), d (N,O)               rows of inputs and of output gradients
//   offsets (S+1), a_rows (N)      who owns which rows (ops/gram/gradient_pairs.h)
//   a2, d2, offsets2, a_rows2      a second set of functions, for a rectangular K
//   gram (S,S2|S)                  K in float64: overwritten, or with `accumulate` added to
//   bias                           the layer has one
//   max_bytes                      of gradients that exist at a time, 16 MiB; 256 MiB are better on a device
// For one block (o, i) of G after the other, G_s[o,i] of every function is made, and its Gram matrix is added
// to K ("Jacobian contraction" of Novak et al. 2022, blocked). K is the same as that of op token_gram, and
// cheaper for long functions. G is in the run's real type; inner products over at most 1,024 entries of it
// are summed into float64 entries of K. On a device, bf16 math may round G to bfloat16 and sums at most 4,096
// products in float32. G is never materialised beyond `max_bytes`, but for one 6 × 16 block per function,
// which is held whatever it says. Nothing may alias. Cost: 2 N I O + S (S + 1) I O flops symmetric,
// 2 (N + N2) I O + 2 S S2 I O rectangular.
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct JacobianGramArgs {
  View a, d, offsets, a_rows, a2, d2, offsets2, a_rows2, gram;
  bool bias = false;
  bool accumulate = false;
  int64_t max_bytes = 16 << 20;

  static constexpr const char* kName = "jacobian_gram";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("a", s.a, "M I", kStored);
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
    f.integer("max_bytes", s.max_bytes);
  }
};

inline void check_args(const JacobianGramArgs& a) {
  check_pairs(a);
  HF_CHECK(a.max_bytes > 0, ErrorCode::kInvalidArg, "jacobian_gram: max_bytes must be positive, got %lld",
           (long long)a.max_bytes);
}
inline Cost cost(const JacobianGramArgs& a) {
  const double weights = double(a.d.shape[1]) * (double(a.a.shape[1]) + a.bias);
  const double rows = double(a.d.shape[0]) + (a.d2 ? double(a.d2.shape[0]) : 0);
  return {2 * weights * (rows + function_pairs(a.offsets, a.offsets2)),
          4.0 * (a.d.size() + a.a.size() + a.d2.size() * bool(a.d2) + a.a2.size() * bool(a.a2)) +
              8.0 * a.gram.size()};
}
// The share of the measured GEMM rate that these flops run at, as for token_gram: 0.79 at d 256, n 64 × T
// 256; 0.81 at d 1024, n 64 × T 256; 0.77, 0.67, 0.62 at d 1024, n 32 and T 64, 32, 16; 0.70, 0.61 at d 256,
// n 256 and T 16, 8. Few rows leave stores and packing.
inline double relative_rate(const JacobianGramArgs& a) {
  const double functions = double(a.offsets.shape[0] - 1 + (a.offsets2 ? a.offsets2.shape[0] - 1 : 0));
  const double rows =
      (double(a.d.shape[0]) + (a.d2 ? double(a.d2.shape[0]) : 0)) / (functions > 0 ? functions : 1);
  return 0.82 * rows / (rows + 4);
}

}  // namespace hf
