// What the backward pass hands to a gradient sink, and what the Gram and per-sample ops share.
//
// A layer uses a parameter W (O,I) as y = W a. On the way back it meets rows of pairs (a_n, d_n): the layer's
// input and the gradient of its output. A *function* s = 0 … S − 1 is what a gradient is taken of: a sample's
// loss, or the score of one position of a sample. Functions own consecutive rows:
//   offsets (S+1) int32    function s owns rows offsets[s] … offsets[s+1] − 1 of d; it may own none
//   a_rows (N) int32       optional: the row of a that belongs to a row of d; absent, row n of d has row n of a
// Functions of one forward pass share its rows of a by a_rows. A function of position t lists only the rows
// ≤ t, because attention is causal and its d is zero behind them.
//
// The gradient of function s is G_s = Σ_{n ∈ s} d_n ⊗ a_n (O,I). The kernel K[s,s'] = ⟨G_s, G'_s'⟩ is summed
// over parameters, so every Gram op has `accumulate`. Fields a2, d2, … are a second set of functions, and K
// is rectangular. If they are absent, K is symmetric: one half is computed, and both are written, equal to
// the bit.
#pragma once

#include <stdint.h>

#include "ops/fields.h"

namespace hf {

inline void check_offsets(const char* op, const char* name, const View& offsets, int64_t rows) {
  const int32_t* o = offsets.as<int32_t>();
  const int64_t count = offsets.shape[0] - 1;
  HF_CHECK(o[0] == 0 && o[count] == rows, ErrorCode::kInvalidArg,
           "%s: %s must begin with 0 and end with the %lld rows they divide, got %d … %d", op, name,
           (long long)rows, o[0], o[count]);
  for (int64_t s = 0; s < count; ++s)
    HF_CHECK(o[s] <= o[s + 1], ErrorCode::kInvalidArg,
             "%s: %s must not decrease, but entry %lld is %d and the next is %d", op, name, (long long)s,
             o[s], o[s + 1]);
}

// Rows of `source` that belong to `rows` rows, either one to one or by an index.
inline void check_source_rows(const char* op, const char* source_name, const char* index_name,
                              const View& source, const View& index, int64_t rows) {
  if (!source) return;
  if (!index) {
    HF_CHECK(source.shape[0] == rows, ErrorCode::kShape,
             "%s: %s has %lld rows for %lld rows of gradients; give %s when they are shared", op, source_name,
             (long long)source.shape[0], (long long)rows, index_name);
    return;
  }
  for (int64_t n = 0; n < rows; ++n)
    HF_CHECK(index.as<int32_t>()[n] >= 0 && index.as<int32_t>()[n] < source.shape[0], ErrorCode::kInvalidArg,
             "%s: %s[%lld] = %d is not a row of %s, which has %lld", op, index_name, (long long)n,
             index.as<int32_t>()[n], source_name, (long long)source.shape[0]);
}

inline void check_gram_shape(const char* op, const View& gram, int64_t rows, int64_t columns) {
  HF_CHECK(gram.shape[0] == rows && gram.shape[1] == columns, ErrorCode::kShape,
           "%s: gram must be (%lld, %lld), got (%lld, %lld)", op, (long long)rows, (long long)columns,
           (long long)gram.shape[0], (long long)gram.shape[1]);
}

// Whether a field of the second set is given exactly when it must be.
inline void check_second(const char* op, const char* name, bool given, bool expected) {
  HF_CHECK(given == expected, ErrorCode::kInvalidArg,
           "%s: %s must be %s: the second set of functions has the fields of the first or is absent", op,
           name, expected ? "given" : "absent");
}

// The checks of every op over two sets of pairs.
template <class A>
inline void check_pairs(const A& a) {
  const char* op = A::kName;
  check_offsets(op, "offsets", a.offsets, a.d.shape[0]);
  check_source_rows(op, "a", "a_rows", a.a, a.a_rows, a.d.shape[0]);
  const bool second(a.offsets2);
  check_second(op, "d2", bool(a.d2), second);
  check_second(op, "a2", bool(a.a2), second && a.a);
  if (!second) check_second(op, "a_rows2", bool(a.a_rows2), false);
  if (second) {
    check_offsets(op, "offsets2", a.offsets2, a.d2.shape[0]);
    check_source_rows(op, "a2", "a_rows2", a.a2, a.a_rows2, a.d2.shape[0]);
  }
  check_gram_shape(op, a.gram, a.offsets.shape[0] - 1, (second ? a.offsets2 : a.offsets).shape[0] - 1);
}

// Row pairs (n, n') whose products a ghost form needs. Symmetric: every pair of different functions once, a
// function with itself whole.
inline double row_pairs(const View& offsets, const View& offsets2) {
  const int32_t* o = offsets.as<int32_t>();
  const double rows = o[offsets.shape[0] - 1];
  if (offsets2) return rows * offsets2.as<int32_t>()[offsets2.shape[0] - 1];
  double squares = 0;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s)
    squares += double(o[s + 1] - o[s]) * double(o[s + 1] - o[s]);
  return (rows * rows + squares) / 2;
}
// Entries of K that are computed.
inline double function_pairs(const View& offsets, const View& offsets2) {
  const double s = double(offsets.shape[0] - 1);
  return offsets2 ? s * double(offsets2.shape[0] - 1) : s * (s + 1) / 2;
}

}  // namespace hf
