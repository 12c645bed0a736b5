// Draws one token per row of logits.
//   temperature 0: the largest logit, ties to the lowest id; logp is that of the untempered softmax
//   otherwise: softmax(logits / temperature), restricted in this order, each time renormalised:
//     top_k    to the top_k most likely (0 = all; ties beyond the k-th are cut by id)
//     top_p    to the smallest set of most likely tokens whose probability reaches top_p (1 = all)
//     min_p    to tokens with p ≥ min_p · p_max
//
// Fields:
//   logits (B,V)           −∞ has probability 0; a row with NaN, +∞ or no finite logit is an error
//                          (ERR_INVALID_ARG, naming the row)
//   streams, counters (B)  which sample, from first_stream on, and which of its tokens
//   tokens (B), logps (B)  the token and its log-probability in the final distribution; overwritten
// Drawn by inversion in id order with philox_uniform(seed, first_stream + streams[b], counters[b]): one
// number per token, independent of batch and device. Probabilities and their sums are float64, so that every
// implementation picks the same token. Nothing may alias. Cost: O(V) exponentials a row.
#pragma once

#include "ops/fields.h"

namespace hf {

struct SampleTokenArgs {
  View logits, streams, counters, tokens, logps;
  double temperature = 1;
  double top_p = 1;
  double min_p = 0;
  int64_t top_k = 0;
  int64_t seed = 0;
  int64_t first_stream = 0;

  static constexpr const char* kName = "sample_token";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("logits", s.logits, "B V");
    f.in("streams", s.streams, "B", kIndices);    // which sample, from first_stream on
    f.in("counters", s.counters, "B", kIndices);  // which of its tokens
    f.out("tokens", s.tokens, "B", kIndices);
    f.out("logps", s.logps, "B");
    f.number("temperature", s.temperature);
    f.integer("top_k", s.top_k);
    f.number("top_p", s.top_p);
    f.number("min_p", s.min_p);
    f.integer("seed", s.seed);
    f.integer("first_stream", s.first_stream);
  }
};

inline void check_args(const SampleTokenArgs& a) {
  HF_CHECK(a.logits.shape[1] > 0 || a.logits.shape[0] == 0, ErrorCode::kShape,
           "sample_token: logits must have at least one column");
  const bool is_temperature = a.temperature >= 0 && a.temperature < __builtin_inf();
  const bool is_top_p = a.top_p > 0 && a.top_p <= 1;
  const bool is_min_p = a.min_p >= 0 && a.min_p <= 1;
  HF_CHECK(
      is_temperature && a.top_k >= 0 && is_top_p && is_min_p, ErrorCode::kInvalidArg,
      "sample_token: a finite temperature >= 0, top_k >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1 expected, "
      "got %g, %lld, %g, %g",
      a.temperature, (long long)a.top_k, a.top_p, a.min_p);
}
inline Cost cost(const SampleTokenArgs& a) {
  return {8.0 * a.logits.size(), 8.0 * a.logits.size()};
}

}  // namespace hf
