// Gathers rows of a table by their ids, and adds rows of a second one, for learned positions.
//   y[n,:] = table[ids[n],:] (+ table2[ids2[n],:])
//
// Fields:
//   table (V,C)            may be bfloat16, which is widened exactly
//   ids (N)                rows of the table; others are an error
//   table2 (T,C), ids2 (N) both or neither
//   y (N,C)                overwritten
// The gradient with respect to a table is a scatter-add, d_table[ids[n],:] += d_y[n,:], which is accumulated
// in the order of n, so it is deterministic. The op also gathers hidden rows before the classifier, and its
// gradient scatters theirs back. Nothing may alias. The op is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct EmbeddingArgs {
  View table, ids, table2, ids2, y;

  static constexpr const char* kName = "embedding";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("table", s.table, "V C", kStored | kBf16);
    f.in("ids", s.ids, "N", kIndices);
    f.in("table2", s.table2, "T C", kOptional);
    f.in("ids2", s.ids2, "N", kOptional | kIndices);
    f.out("y", s.y, "N C", kStored);
  }
};

struct EmbeddingBackwardArgs {
  View ids, d_y, d_table;

  static constexpr const char* kName = "embedding_backward";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("ids", s.ids, "N", kIndices);
    f.in("d_y", s.d_y, "N C");
    f.inout("d_table", s.d_table, "V C");  // accumulated
  }
};

// Ids are read here, so this runs where they are host memory.
inline void check_ids(const char* op, const char* name, const View& ids, const View& table) {
  for (int64_t n = 0; n < ids.shape[0]; ++n) {
    const int32_t id = ids.as<int32_t>()[n];
    HF_CHECK(id >= 0 && id < table.shape[0], ErrorCode::kInvalidArg,
             "%s: %s[%lld] must lie in the %lld rows of its table, got %d", op, name, (long long)n,
             (long long)table.shape[0], id);
  }
}
inline void check_args(const EmbeddingArgs& a) {
  HF_CHECK(bool(a.table2) == bool(a.ids2), ErrorCode::kInvalidArg,
           "embedding: table2 and ids2 must be given together");
  check_ids("embedding", "ids", a.ids, a.table);
  if (a.table2) check_ids("embedding", "ids2", a.ids2, a.table2);
}
inline void check_args(const EmbeddingBackwardArgs& a) {
  check_ids("embedding_backward", "ids", a.ids, a.d_table);
}
inline Cost cost(const EmbeddingArgs& a) {
  return {0, 8.0 * a.y.size() * (a.table2 ? 1.5 : 1)};
}
inline Cost cost(const EmbeddingBackwardArgs& a) {
  return {double(a.d_y.size()), 12.0 * a.d_y.size()};
}

}  // namespace hf
