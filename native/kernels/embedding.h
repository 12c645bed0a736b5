// Row gather: y[n,:] = table[ids[n],:] (+ table2[ids2[n],:] for learned positions).
// Its gradient with respect to a table is a scatter-add, d_table[ids[n],:] += d_y[n,:], summed in the order of n (deterministic).
// Also gathers hidden rows before the classifier and scatters their gradients back.
#pragma once

#include "kernels/fields.h"

namespace hf {

struct EmbeddingArgs {
  View table, ids, table2, ids2, y;

  static constexpr const char* kName = "embedding";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("table", s.table, "V C");
    f.in("ids", s.ids, "N", kIndices);
    f.in("table2", s.table2, "T C", kOptional);
    f.in("ids2", s.ids2, "N", kOptional | kIndices);
    f.out("y", s.y, "N C");
  }
};

struct EmbeddingBackwardArgs {
  View ids, d_y, d_table;  // ids outside [0, V) are an error

  static constexpr const char* kName = "embedding_backward";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("ids", s.ids, "N", kIndices);
    f.in("d_y", s.d_y, "N C");
    f.inout("d_table", s.d_table, "V C");  // accumulated
  }
};

inline Cost cost(const EmbeddingArgs& a) { return {0, 8.0 * a.y.size() * (a.table2 ? 1.5 : 1)}; }
inline Cost cost(const EmbeddingBackwardArgs& a) { return {double(a.d_y.size()), 12.0 * a.d_y.size()}; }

}  // namespace hf
