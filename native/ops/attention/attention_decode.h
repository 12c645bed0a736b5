// Attention of one new query per sequence against the key/value cache, as decoding needs it.
//   y_b = Σ_{j < lengths[b]} softmax_j(scale · ⟨q_b, cache_k[slots[b], j]⟩) cache_v[slots[b], j]
//
// Fields:
//   q, y (B,H,D)                   the new queries, and the result, which is overwritten
//   cache_k, cache_v (S,T,G,D)     S slots of T positions; query head h reads head h / (H/G)
//   slots (B)                      the slot of each sequence
//   lengths (B)                    its valid positions; the new token's own is among them (op kv_append), so ≥ 1
//   scale                          of the scores, usually 1/√D
// y has the bits that op attention gives the same row, on the CPU. Nothing may alias. The op is bound by
// memory: it reads every valid cache entry once.
#pragma once

#include "ops/fields.h"

namespace hf {

struct AttentionDecodeArgs {
  View q, cache_k, cache_v, slots, lengths, y;
  double scale = 1;

  static constexpr const char* kName = "attention_decode";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("q", s.q, "B H D", kStored);
    f.in("cache_k", s.cache_k, "S T G D");
    f.in("cache_v", s.cache_v, "S T G D");
    f.in("slots", s.slots, "B", kIndices);
    f.in("lengths", s.lengths, "B", kIndices);
    f.out("y", s.y, "B H D", kStored);
    f.number("scale", s.scale);
  }
};

inline void check_args(const AttentionDecodeArgs& a) {
  HF_CHECK(
      a.cache_k.shape[2] > 0 && a.q.shape[1] % a.cache_k.shape[2] == 0, ErrorCode::kShape,
      "attention_decode: q has %lld heads, the cache has %lld; the first must be a multiple of the second",
      (long long)a.q.shape[1], (long long)a.cache_k.shape[2]);
  for (int64_t b = 0; b < a.q.shape[0]; ++b) {
    const int32_t slot = a.slots.as<int32_t>()[b];
    const int32_t length = a.lengths.as<int32_t>()[b];
    const bool is_slot = slot >= 0 && slot < a.cache_k.shape[0];
    const bool is_length = length >= 1 && length <= a.cache_k.shape[1];
    HF_CHECK(is_slot && is_length, ErrorCode::kInvalidArg,
             "attention_decode: slots[%lld] = %d and lengths[%lld] = %d "
             "must lie in a cache of %lld slots of %lld positions",
             (long long)b, slot, (long long)b, length, (long long)a.cache_k.shape[0],
             (long long)a.cache_k.shape[1]);
  }
}
inline Cost cost(const AttentionDecodeArgs& a) {
  double positions = 0;
  for (int64_t b = 0; b < a.q.shape[0]; ++b)
    positions += a.lengths.as<int32_t>()[b];
  return {4 * positions * a.q.shape[1] * a.q.shape[2],
          8 * positions * a.cache_k.shape[2] * a.cache_k.shape[3]};
}

}  // namespace hf
