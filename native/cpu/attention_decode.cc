// One task is one row of the batch and one key/value head with its query heads. Every key is read once, kLanes keys at a time:
// each lane of the partial sums belongs to one dimension, a transpose adds them up. Then the softmax, then y = Σ p v with values in
// blocks that stay in the first-level cache while the heads go over them.
// Scratch per thread: the scores of the query heads.
#include "cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kValues = 32;

// ⟨q, key j⟩ for kLanes keys `stride` apart, the first `count` of which exist.
HF_INLINE Floats key_scores(const float* q, const float* keys, int64_t stride, int64_t count, int64_t D) {
  Floats sums[kLanes];
  for (int j = 0; j < kLanes; ++j) sums[j] = zero();
  const float* row[kLanes];
  for (int j = 0; j < kLanes; ++j) row[j] = keys + (j < count ? j : 0) * stride;
  int64_t d = 0;
  for (; d + kLanes <= D; d += kLanes) {
    const Floats x = load(q + d);
    for (int j = 0; j < kLanes; ++j) sums[j] = x * load(row[j] + d) + sums[j];
  }
  if (d < D) {
    const Floats x = load_partial(q + d, D - d);
    for (int j = 0; j < kLanes; ++j) sums[j] = x * load_partial(row[j] + d, D - d) + sums[j];
  }
  transpose(sums);
  Floats total = sums[0];
  for (int j = 1; j < kLanes; ++j) total = total + sums[j];
  return total;
}

// y += Σ_j p[j] · value j over V vectors; with kPart only `columns` of the numbers exist.
template <int V, bool kPart>
HF_NOINLINE void add_values(const float* p, int64_t count, const float* values, int64_t stride, float* y, int64_t columns) {
  const auto read = [&](const float* from, int v) { return kPart ? load_partial(from + v * kLanes, columns - v * kLanes) : load(from + v * kLanes); };
  Floats sums[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) sums[v] = read(y, v);
  for (int64_t j = 0; j < count; ++j, values += stride) {
    const Floats weight = broadcast(p[j]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v] = weight * read(values, v) + sums[v];
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store_partial(y + v * kLanes, sums[v], kPart ? columns - v * kLanes : kLanes);
}

}  // namespace

void run(const AttentionDecodeArgs& a, Run& run) {
  const int64_t G = a.cache_k.shape[2], per_group = a.q.shape[1] / G, D = a.q.shape[2], B = a.q.shape[0];
  const float scale = static_cast<float>(a.scale);
  int64_t longest = 0;
  for (int64_t b = 0; b < B; ++b) longest = a.lengths.as<int32_t>()[b] > longest ? a.lengths.as<int32_t>()[b] : longest;
  const int64_t wide = round_up(longest, 16);
  Scratch scratch(run);

  for_tasks(run, B * G, per_group * wide, [&](int64_t task, float* scores) {
    const int64_t b = task / G, g = task % G, slot = a.slots.as<int32_t>()[b], length = a.lengths.as<int32_t>()[b];
    const float* keys = a.cache_k.as<float>() + slot * a.cache_k.stride[0] + g * a.cache_k.stride[2];
    const float* values = a.cache_v.as<float>() + slot * a.cache_v.stride[0] + g * a.cache_v.stride[2];
    const float* q = a.q.as<float>() + b * a.q.stride[0] + g * per_group * a.q.stride[1];
    float* y = a.y.as<float>() + b * a.y.stride[0] + g * per_group * a.y.stride[1];
    const int64_t key_row = a.cache_k.stride[1], value_row = a.cache_v.stride[1], q_row = a.q.stride[1], y_row = a.y.stride[1];

    for (int64_t j = 0; j < length; j += kLanes)
      for (int64_t i = 0; i < per_group; ++i)
        store(scores + i * wide + j, scale * key_scores(q + i * q_row, keys + j * key_row, key_row, length - j, D));
    for (int64_t i = 0; i < per_group; ++i) {
      float* s = scores + i * wide;
      const int64_t vectors = (length + kLanes - 1) / kLanes;
      Floats highest = broadcast(-__FLT_MAX__), sums = zero();
      for_scores(s, vectors, length, [&](int64_t, Floats x) { highest = max(x, highest); });
      const float top = max_of(highest);
      for_scores(s, vectors, length, [&](int64_t j, Floats x) {
        const Floats p = exp(x - top);
        sums = sums + p;
        store(s + j, p);
      });
      const float inverse = 1 / sum(sums);
      for (int64_t j = 0; j < length; j += kLanes) store(s + j, inverse * load(s + j));
      for (int64_t d = 0; d < D; ++d) y[i * y_row + d] = 0;
    }
    for (int64_t j = 0; j < length; j += kValues)
      for (int64_t i = 0; i < per_group; ++i) {
        const float* p = scores + i * wide + j;
        const int64_t count = smaller(kValues, length - j);
        int64_t d = 0;
        for (; d + 8 * kLanes <= D; d += 8 * kLanes) add_values<8, false>(p, count, values + j * value_row + d, value_row, y + i * y_row + d, 8 * kLanes);
        for (; d + 2 * kLanes <= D; d += 2 * kLanes) add_values<2, false>(p, count, values + j * value_row + d, value_row, y + i * y_row + d, 2 * kLanes);
        for (; d < D; d += kLanes) add_values<1, true>(p, count, values + j * value_row + d, value_row, y + i * y_row + d, smaller(kLanes, D - d));
      }
  });
}

}  // namespace hf::HF_ISA
