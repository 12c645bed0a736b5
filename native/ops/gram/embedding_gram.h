// The kernel of an embedding table (V,C): inner products of per-sample gradients that are scatters. Row v of
// the gradient of function s is G_s[v] = Σ_{n ∈ s, ids[n] = v} d_n.
//   K[s,s'] (+)= Σ_v ⟨G_s[v], G'_s'[v]⟩ = Σ_{n ∈ s, n' ∈ s'} 1[ids[n] = ids'[n']] ⟨d_n, d'_n'⟩
//
// Fields:
//   ids (N), d (N,C)        ids and the gradients of their rows; positions are the same with positions for ids
//   offsets (S+1)           function s owns rows offsets[s] … offsets[s+1] − 1
//   ids2, d2, offsets2      a second set of functions, for a rectangular K (ops/gram/gradient_pairs.h)
//   gram (S,S2|S)           K in float64: overwritten, or with `accumulate` added to
// Rows are sorted by id and function. What one function adds to one id is summed once, then every id
// multiplies the functions that use it. Ids are any integers: V does not appear, and nothing of its size
// exists. The (S,V,C) gradients are never materialised; sums that are kept take 4 MiB, or as much as those of
// one id. Nothing may alias. Cost: N C + 2 C Σ_v (pairs of functions that use v) flops, from S² C (no id
// shared) up to T S² C (all shared).
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct EmbeddingGramArgs {
  View ids, d, offsets, ids2, d2, offsets2, gram;
  bool accumulate = false;

  static constexpr const char* kName = "embedding_gram";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("ids", s.ids, "N", kIndices);
    f.in("d", s.d, "N C");
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("ids2", s.ids2, "N2", kOptional | kIndices);
    f.in("d2", s.d2, "N2 C", kOptional);
    f.in("offsets2", s.offsets2, "S2+1", kOptional | kIndices);
    f.inout("gram", s.gram, "S S2|S", kDouble);
    f.flag("accumulate", s.accumulate);
  }
};

inline void check_args(const EmbeddingGramArgs& a) {
  const bool second(a.offsets2);
  check_offsets("embedding_gram", "offsets", a.offsets, a.d.shape[0]);
  check_second("embedding_gram", "d2", bool(a.d2), second);
  check_second("embedding_gram", "ids2", bool(a.ids2), second);
  if (second) check_offsets("embedding_gram", "offsets2", a.offsets2, a.d2.shape[0]);
  check_gram_shape("embedding_gram", a.gram, a.offsets.shape[0] - 1,
                   (second ? a.offsets2 : a.offsets).shape[0] - 1);
}
// An upper bound without looking at the ids: every function of a set uses the same ids.
inline Cost cost(const EmbeddingGramArgs& a) {
  const double C = double(a.d.shape[1]);
  const double functions = double(a.offsets.shape[0] - 1);
  const double rows = double(a.d.shape[0]) + (a.d2 ? double(a.d2.shape[0]) : 0);
  const double rows_each = functions > 0 ? double(a.d.shape[0]) / functions : 0;
  return {rows * C + 2 * C * rows_each * function_pairs(a.offsets, a.offsets2),
          4 * rows * C + 8.0 * a.gram.size()};
}

// Rows sorted by (id, row), so by (id, function).
void order_by_id(const int32_t* ids, int64_t rows, int32_t* order);

}  // namespace hf
