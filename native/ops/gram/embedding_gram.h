// The kernel of an embedding table (V,C), whose per-sample gradient is a scatter: row v of G_s is Σ_{n ∈ s,
// ids[n] = v} d_n.
//   K[s,s'] (+)= Σ_v ⟨G_s[v], G'_s'[v]⟩ = Σ_{n ∈ s, n' ∈ s'} 1[ids[n] = ids'[n']] ⟨d_n, d'_n'⟩
// Learned positions are the same with positions for ids. Rows are sorted by (id, function); what one function
// adds to one id is summed once, then every id multiplies the functions that use it. Ids are any integers: V
// does not appear, and nothing of its size exists. Functions own consecutive rows; the second set:
// ops/gram/gradient_pairs.h. Never materialised: (S,V,C) gradients. Workspace: an index of the rows, and 4
// MiB of sums (or those of one id). flops N C + 2 C Σ_v (pairs of functions that use v): from S² C (no id
// shared) up to T S² C (all shared).
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct EmbeddingGramArgs {
  View ids, d, offsets, ids2, d2, offsets2, gram;
  bool accumulate = false;

  static constexpr const char* kName = "embedding_gram";
  static constexpr bool kTakesScratch = true;
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
  const double c = double(a.d.shape[1]), functions = double(a.offsets.shape[0] - 1),
               rows = double(a.d.shape[0]) + (a.d2 ? double(a.d2.shape[0]) : 0);
  const double longest = functions > 0 ? double(a.d.shape[0]) / functions : 0;
  return {rows * c + 2 * c * longest * function_pairs(a.offsets, a.offsets2),
          4 * rows * c + 8.0 * a.gram.size()};
}
int64_t workspace_bytes(const EmbeddingGramArgs& a);

// The rows of one function that use one id: entries [begin, begin + count) of the order.
struct EmbeddingUse {
  int32_t id, function, begin, count;
};
// Rows sorted by (id, row), so by (id, function).
void order_by_id(const int32_t* ids, int64_t rows, int32_t* order);
// Sums held at once: at least one id's.
int64_t embedding_batch_rows(const EmbeddingGramArgs& a);

}  // namespace hf
