// Copies keys and values of new tokens into the cache: for every m, row rows[m] of k and v goes to position
// positions[m] of slot slots[m]. One row may go to several slots (completions that share a prompt are
// prefilled once); of entries with one destination the last wins.
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
    const int32_t row = a.rows.as<int32_t>()[m], slot = a.slots.as<int32_t>()[m],
                  position = a.positions.as<int32_t>()[m];
    HF_CHECK(
        row >= 0 && row < a.k.shape[0] && slot >= 0 && slot < a.cache_k.shape[0] && position >= 0 &&
            position < a.cache_k.shape[1],
        ErrorCode::kInvalidArg,
        "kv_append: entry %lld (row %d, slot %d, position %d) must lie in %lld rows, %lld slots of %lld positions",
        (long long)m, row, slot, position, (long long)a.k.shape[0], (long long)a.cache_k.shape[0],
        (long long)a.cache_k.shape[1]);
  }
}
inline Cost cost(const KvAppendArgs& a) {
  return {0, 16.0 * a.rows.shape[0] * a.k.shape[1] * a.k.shape[2]};
}

}  // namespace hf
