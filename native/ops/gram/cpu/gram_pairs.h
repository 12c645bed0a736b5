// What the Gram kernels of the CPU share: rows of two sets as pointers, functions cut into blocks, tiles of
// products, entries of K.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/row_products.h"
#include "backends/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

using cpu::divide_up;
using cpu::greatest;
using cpu::least;

// Cancellation is noticed between groups of so many tasks; threads meet there, so a group is not small.
constexpr int64_t kTaskGroup = 64;

// One set of functions (ops/gram/gradient_pairs.h): function s owns rows [begin(s), end(s)).
struct Rows {
  const int32_t* offsets;
  int64_t functions;
  View d;
  View a;
  const int32_t* a_rows;

  HF_INLINE const float* gradient(int64_t n) const { return d.as<const float>() + n * d.stride[0]; }
  HF_INLINE const float* input(int64_t n) const {
    return a.as<const float>() + (a_rows ? a_rows[n] : n) * a.stride[0];
  }
  HF_INLINE int64_t begin(int64_t s) const { return offsets[s]; }
  HF_INLINE int64_t end(int64_t s) const { return offsets[s + 1]; }
};

HF_INLINE Rows rows_of(const View& d, const View& offsets, const View& a, const View& a_rows) {
  return {offsets.as<const int32_t>(), offsets.shape[0] - 1, d, a, a_rows.as<const int32_t>()};
}

// A piece of a set's rows, at most kTile of them.
struct RowRange {
  int64_t begin;
  int64_t end;
  HF_INLINE int64_t count() const { return end - begin; }
};

// Pointers to the rows of d, or of a, in a range.
HF_INLINE void gradients_in(const Rows& x, RowRange range, const float** rows) {
  for (int64_t n = range.begin; n < range.end; ++n)
    rows[n - range.begin] = x.gradient(n);
}
HF_INLINE void inputs_in(const Rows& x, RowRange range, const float** rows) {
  for (int64_t n = range.begin; n < range.end; ++n)
    rows[n - range.begin] = x.input(n);
}
// The rows of function s in a range; empty if there are none.
HF_INLINE RowRange rows_in(const Rows& x, int64_t s, RowRange range) {
  return {greatest(x.begin(s), range.begin), least(x.end(s), range.end)};
}

// Consecutive functions with at most kTile rows together (or one longer function), at most kTile of them:
// block b is functions [starts[b], starts[b + 1]). `starts` holds functions + 1 numbers.
HF_INLINE int64_t cut_functions(const Rows& x, int32_t* starts) {
  int64_t blocks = 0;
  starts[0] = 0;
  for (int64_t s = 1; s < x.functions; ++s) {
    const bool is_full = x.end(s) - x.begin(starts[blocks]) > kTile || s - starts[blocks] == kTile;
    if (is_full) starts[++blocks] = static_cast<int32_t>(s);
  }
  if (x.functions) starts[++blocks] = static_cast<int32_t>(x.functions);
  return blocks;
}

// A pair of blocks of functions, one of each set.
struct BlockPair {
  int64_t b1;
  int64_t b2;
};
// The number of pairs: all of them, or b1 ≤ b2 of a symmetric K.
HF_INLINE int64_t count_block_pairs(int64_t blocks1, int64_t blocks2, bool symmetric) {
  return symmetric ? blocks1 * (blocks1 + 1) / 2 : blocks1 * blocks2;
}
// Pair `task` of them.
HF_INLINE BlockPair block_pair(int64_t task, int64_t blocks2, bool symmetric) {
  if (!symmetric) return {task / blocks2, task % blocks2};
  int64_t b1 = 0;
  int64_t left = blocks2;
  while (task >= left) {
    task -= left;
    --left;
    ++b1;
  }
  return {b1, b1 + task};
}

// Entries of K, in float64; mirror: K is symmetric, and both halves are written.
struct GramOutput {
  double* k;
  int64_t stride0;
  int64_t stride1;
  bool mirror;

  HF_INLINE void clear(int64_t s, int64_t t) const {
    k[s * stride0 + t * stride1] = 0;
    if (mirror) k[t * stride0 + s * stride1] = 0;
  }
  HF_INLINE void clear_all(int64_t functions1, int64_t functions2) const {
    for (int64_t s = 0; s < functions1; ++s)
      for (int64_t t = 0; t < functions2; ++t)
        k[s * stride0 + t * stride1] = 0;
  }
  HF_INLINE void add(int64_t s, int64_t t, double value) const {
    k[s * stride0 + t * stride1] += value;
    if (mirror && s != t) k[t * stride0 + s * stride1] += value;
  }
};
HF_INLINE GramOutput gram_output(const View& gram, bool symmetric) {
  return {gram.as<double>(), gram.stride[0], 1, symmetric};
}

// Every entry of a pair of blocks that this pair owns: s ≤ t on the diagonal of a symmetric K.
template <class Body>
HF_INLINE void for_entries(const int32_t* starts1, const int32_t* starts2, BlockPair pair, bool symmetric,
                           const Body& body) {
  const bool diagonal = symmetric && pair.b1 == pair.b2;
  for (int64_t s = starts1[pair.b1]; s < starts1[pair.b1 + 1]; ++s)
    for (int64_t t = diagonal ? s : starts2[pair.b2]; t < starts2[pair.b2 + 1]; ++t)
      body(s, t);
}

// Σ over rows [i0, i1) × [j0, j1) of (p + bias) ∘ q; p null: q alone.
HF_INLINE double tile_sum(const float* p, const float* q, float bias, int64_t i0, int64_t i1, int64_t j0,
                          int64_t j1) {
  if (i1 - i0 == 1 && j1 - j0 == 1)
    return double(q[j0 * kTile + i0]) * (p ? double(p[j0 * kTile + i0] + bias) : 1);
  double total = 0;
  for (int64_t i = i0; i < i1; i += kLanes) {
    Floats sum_q = zero();
    for (int64_t j = j0; j < j1; ++j) {
      const Floats x = load_partial(q + j * kTile + i, i1 - i);
      sum_q = p ? (load_partial(p + j * kTile + i, i1 - i) + bias) * x + sum_q : sum_q + x;
    }
    total += double(sum(sum_q));
  }
  return total;
}

}  // namespace
}  // namespace hf::HF_ISA
