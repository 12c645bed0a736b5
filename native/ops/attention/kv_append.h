// Copies keys and values of new tokens into the cache.
//   cache_k[slots[m], positions[m]] = k[rows[m]]    and the same of v, for every entry m in order
//
// Fields:
//   k, v (N,G,D)                   the new keys and values
//   rows, slots, positions (M)     which row goes where
//   cache_k, cache_v (S,T,G,D)     updated; other positions are left alone
// One row may go to several slots (completions that share a prompt are prefilled once). Of entries with one
// destination the last wins. Nothing may alias. The op is bound by memory.
#pragma once

#include "ops/fields.h"

namespace hf {

struct KvAppendArgs {
  View k, v, rows, slots, positions, cache_k, cache_v;

  static constexpr const char* kName = "kv_append";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("k", s.k, "N G D", kStored);
    f.in("v", s.v, "N G D", kStored);
    f.in("rows", s.rows, "M", kIndices);
    f.in("slots", s.slots, "M", kIndices);
    f.in("positions", s.positions, "M", kIndices);
    f.inout("cache_k", s.cache_k, "S T G D");
    f.inout("cache_v", s.cache_v, "S T G D");
  }
};

inline void check_args(const KvAppendArgs& a) {
  for (int64_t m = 0; m < a.rows.shape[0]; ++m) {
    const int32_t row = a.rows.as<int32_t>()[m];
    const int32_t slot = a.slots.as<int32_t>()[m];
    const int32_t position = a.positions.as<int32_t>()[m];
    const bool is_row = row >= 0 && row < a.k.shape[0];
    const bool is_slot = slot >= 0 && slot < a.cache_k.shape[0];
    const bool is_position = position >= 0 && position < a.cache_k.shape[1];
    HF_CHECK(is_row && is_slot && is_position, ErrorCode::kInvalidArg,
             "kv_append: entry %lld (row %d, slot %d, position %d) "
             "must lie in %lld rows, %lld slots of %lld positions",
             (long long)m, row, slot, position, (long long)a.k.shape[0], (long long)a.cache_k.shape[0],
             (long long)a.cache_k.shape[1]);
  }
}
inline Cost cost(const KvAppendArgs& a) {
  return {0, 16.0 * a.rows.shape[0] * a.k.shape[1] * a.k.shape[2]};
}

}  // namespace hf
