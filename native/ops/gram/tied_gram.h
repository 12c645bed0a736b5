// The cross term of a matrix (V,C) that is used twice, as a classifier and as an embedding table. The
// classifier meets hidden rows φ_n with gradients g_n over the vocabulary, so row v of its gradient is
// Σ_n g_nv φ_n; the table meets ids, so row ids[m] of its gradient receives δ_m.
//   K[s,s'] (+)= Σ_{n ∈ s, m ∈ s'} g_n[ids_m] ⟨φ_n, δ_m⟩    with `symmetrize` + the same with s and s' exchanged
//
// Fields:
//   phi (M,C), g (N,V)              hidden rows and gradients; phi_rows as a_rows in ops/gram/gradient_pairs.h
//   offsets (S+1), phi_rows (N)     functions s own rows of (φ, g)
//   ids (N2), delta (N2,C)          ids and the gradients of their rows
//   offsets2 (S2+1)                 functions s' own rows of (ids, δ)
//   gram (S,S2)                     K in float64, any strides: overwritten, or with `accumulate` added to
//   first_id                        column v of g is id first_id + v; other ids add nothing
// The whole kernel of tied functions 1 and 2 is
//   token_gram + embedding_gram + tied_gram(classifier 1, embedding 2) + tied_gram(classifier 2, embedding 1)ᵀ
// gram may have any strides, so the last is a call with a transposed view. When both sets are the same, one
// call with symmetrize does. g may be a slice of the vocabulary's columns. The (S,V,C) gradients are never
// materialised: tiles of rows × rows are multiplied as in op token_gram. Nothing may alias. Cost: 2 N N2 C
// flops.
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct TiedGramArgs {
  View phi, g, offsets, phi_rows, ids, delta, offsets2, gram;
  int64_t first_id = 0;
  bool symmetrize = false;
  bool accumulate = false;

  static constexpr const char* kName = "tied_gram";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("phi", s.phi, "M C");
    f.in("g", s.g, "N V");
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("phi_rows", s.phi_rows, "N", kOptional | kIndices);
    f.in("ids", s.ids, "N2", kIndices);
    f.in("delta", s.delta, "N2 C");
    f.in("offsets2", s.offsets2, "S2+1", kIndices);
    f.inout("gram", s.gram, "S S2", kDouble | kStrided);
    f.integer("first_id", s.first_id);
    f.flag("symmetrize", s.symmetrize);
    f.flag("accumulate", s.accumulate);
  }
};

inline void check_args(const TiedGramArgs& a) {
  check_offsets("tied_gram", "offsets", a.offsets, a.g.shape[0]);
  check_source_rows("tied_gram", "phi", "phi_rows", a.phi, a.phi_rows, a.g.shape[0]);
  check_offsets("tied_gram", "offsets2", a.offsets2, a.delta.shape[0]);
  HF_CHECK(!a.symmetrize || a.gram.shape[0] == a.gram.shape[1], ErrorCode::kShape,
           "tied_gram: symmetrize needs a square gram, got (%lld, %lld)", (long long)a.gram.shape[0],
           (long long)a.gram.shape[1]);
}
inline Cost cost(const TiedGramArgs& a) {
  const double pairs = double(a.g.shape[0]) * double(a.delta.shape[0]);
  return {pairs * (2 * double(a.phi.shape[1]) + 2),
          4.0 * (a.phi.size() + a.g.size() + a.delta.size()) + 8.0 * a.gram.size()};
}

}  // namespace hf
