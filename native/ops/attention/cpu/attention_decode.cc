// Attention of one new query per sequence against its cache (ops/attention/attention_decode.h).
//
// A task owns one row of the batch and one key/value head with its query heads. Keys go by in the tiles of
// the forward kernel with its online softmax, every sum in its order, so that y has the bits which op
// attention gives the same row: what is sampled is exactly what is trained on. Each key is read once: kLanes
// keys are transposed in registers, then one chain per key runs over the dimensions. A task holds one tile of
// scores and one row of Σ p v per query head (cpu::AttentionDecodeSizes).
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kValues = 32;  // values that stay in the L1 cache while the heads go over them

// scores[i, j] = ⟨q_i, key j⟩ for `count` keys, each one chain over ascending d. Keys are key_row apart.
HF_INLINE void tile_scores(const float* q, int64_t q_row, int64_t heads, const float* keys, int64_t key_row,
                           int64_t count, int64_t D, float* scores) {
  for (int64_t j = 0; j < count; j += kLanes) {
    for (int64_t i = 0; i < heads; ++i)
      store(scores + i * kKeyTile + j, zero());
    for (int64_t d = 0; d < D; d += kLanes) {
      Floats square[kLanes];
      load_square(keys + j * key_row + d, key_row, count - j, D - d, square);
      transpose(square);
      const int64_t some = least(kLanes, D - d);
      for (int64_t i = 0; i < heads; ++i) {
        float* at = scores + i * kKeyTile + j;
        const float* x = q + i * q_row + d;
        Floats sum = load(at);
        for (int64_t r = 0; r < some; ++r)
          sum = multiply_add(broadcast(x[r]), square[r], sum);
        store(at, sum);
      }
    }
  }
}

// y += Σ_j p[j] · value j over V vectors; with kPart only `columns` of the numbers exist.
template <int V, bool kPart>
HF_NOINLINE void add_values(const float* p, int64_t count, const float* values, int64_t stride, float* y,
                            int64_t columns) {
  const auto read = [&](const float* from, int v) {
    return kPart ? load_partial(from + v * kLanes, columns - v * kLanes) : load(from + v * kLanes);
  };
  Floats sums[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v)
    sums[v] = read(y, v);
  for (int64_t j = 0; j < count; ++j, values += stride) {
    const Floats weight = broadcast(p[j]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      sums[v] = multiply_add(weight, read(values, v), sums[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v)
    store_partial(y + v * kLanes, sums[v], kPart ? columns - v * kLanes : kLanes);
}

// The running softmax of one query head.
struct State {
  float maximum;
  float total;
  float kept;  // what earlier sums are to be multiplied by
};
static_assert(sizeof(State) == cpu::AttentionDecodeSizes::kStateFloats * sizeof(float));

// Turns a tile's scores into e^(score − maximum) and updates the state. The lanes of the sum are added one
// after the other, as op attention's row_sums does.
HF_INLINE void tile_softmax(float* scores, int64_t count, float scale, bool first, State& state) {
  const int64_t vectors = vectors_of(count);
  for (int64_t j = 0; j < vectors * kLanes; j += kLanes)
    store(scores + j, broadcast(scale) * load(scores + j));
  Floats highest = broadcast(-__FLT_MAX__);
  for_scores(scores, vectors, count, [&](int64_t, Floats x) { highest = max(x, highest); });
  const float own = max_of(highest);
  const float before = state.maximum;
  const float top = first || own > before ? own : before;
  Floats partial = zero();
  for_scores(scores, vectors, count, [&](int64_t j, Floats x) {
    const Floats p = exp(x - broadcast(top));
    partial = partial + p;
    store(scores + j, p);
  });
  float lanes[kLanes];
  store(lanes, partial);
  float sum = lanes[0];
  for (int i = 1; i < kLanes; ++i)
    sum += lanes[i];
  if (first) {
    state = {top, sum, 0};
    return;
  }
  const float kept = exp(broadcast(before - top))[0];
  const float total = multiply_add(broadcast(state.total), broadcast(kept), broadcast(sum))[0];
  state = {top, total, kept};
}

// sums (D) += Σ_j p[j] · value j for `count` values.
HF_INLINE void add_values_of(const float* p, int64_t count, const float* values, int64_t stride, float* sums,
                             int64_t D) {
  int64_t d = 0;
  for (; d + 8 * kLanes <= D; d += 8 * kLanes)
    add_values<8, false>(p, count, values + d, stride, sums + d, 8 * kLanes);
  for (; d + 2 * kLanes <= D; d += 2 * kLanes)
    add_values<2, false>(p, count, values + d, stride, sums + d, 2 * kLanes);
  for (; d < D; d += kLanes)
    add_values<1, true>(p, count, values + d, stride, sums + d, least(kLanes, D - d));
}

// y = alpha · sums (+ beta · y)
HF_INLINE void combine(const float* sums, float alpha, const float* beta, float* y, int64_t D) {
  for (int64_t d = 0; d < D; d += kLanes) {
    Floats result = broadcast(alpha) * load(sums + d);
    if (beta) result = multiply_add(broadcast(*beta), load_partial(y + d, D - d), result);
    store_partial(y + d, result, D - d);
  }
}

}  // namespace

void run(const AttentionDecodeArgs& a, Run& run) {
  const cpu::AttentionDecodeSizes sizes(a);
  const int64_t B = a.q.shape[0];
  const int64_t G = a.cache_k.shape[2];
  const int64_t D = a.q.shape[2];
  const int64_t heads = sizes.heads;
  const int64_t key_row = a.cache_k.stride[1];
  const int64_t value_row = a.cache_v.stride[1];
  const float scale = static_cast<float>(a.scale);
  Scratch scratch(run);

  for_tasks(run, B * G, sizes.floats(), [&](int64_t task, float* memory) {
    const int64_t b = task / G;
    const int64_t g = task % G;
    const int64_t slot = a.slots.as<int32_t>()[b];
    const int64_t length = a.lengths.as<int32_t>()[b];
    const float* keys = a.cache_k.as<float>() + slot * a.cache_k.stride[0] + g * a.cache_k.stride[2];
    const float* values = a.cache_v.as<float>() + slot * a.cache_v.stride[0] + g * a.cache_v.stride[2];
    const float* q = a.q.as<float>() + b * a.q.stride[0] + g * heads * a.q.stride[1];
    float* y = a.y.as<float>() + b * a.y.stride[0] + g * heads * a.y.stride[1];
    float* const scores = memory;                 // (heads, kKeyTile)
    float* const sums = scores + sizes.scores();  // (heads, wide)
    State* const states = reinterpret_cast<State*>(sums + sizes.sums());

    for (int64_t begin = 0; begin < length; begin += kKeyTile) {
      const int64_t count = least(kKeyTile, length - begin);
      const bool first = begin == 0;
      const bool last = begin + kKeyTile >= length;
      tile_scores(q, a.q.stride[1], heads, keys + begin * key_row, key_row, count, D, scores);
      for (int64_t i = 0; i < sizes.sums(); ++i)
        sums[i] = 0;
      for (int64_t j = 0; j < count; j += kValues)
        for (int64_t i = 0; i < heads; ++i) {
          float* const p = scores + i * kKeyTile;
          if (j == 0) tile_softmax(p, count, scale, first, states[i]);
          add_values_of(p + j, least(kValues, count - j), values + (begin + j) * value_row, value_row,
                        sums + i * sizes.wide, D);
        }
      for (int64_t i = 0; i < heads; ++i) {
        const float alpha = last ? 1.0f / states[i].total : 1.0f;
        const float beta = states[i].kept * alpha;
        combine(sums + i * sizes.wide, alpha, first ? nullptr : &beta, y + i * a.y.stride[1], D);
      }
    }
  });
}

}  // namespace hf::HF_ISA
