// Tasks and tiles as in attention.cc; P comes from lse, so nothing is rescaled. With W = P ∘ (t_s − c) for
// any c per row:
//   t_y = Σ_tiles (W v + P t_v) − (Σ W) y
// c is the mean of t_s under P in the first tile of keys: nothing large cancels where a shift of the scores
// is all that moves.
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {
constexpr int64_t kTile = 64;
}  // namespace

void run(const AttentionJvpArgs& a, Run& run) {
  const int64_t G = a.k.shape[1], per_group = a.q.shape[1] / G, D = a.q.shape[2];
  const int64_t size = longest(a.offsets, kTile), wide = tile_stride(size), deep = tile_stride(D);
  const float scale = static_cast<float>(a.scale);
  Scratch scratch(run);
  SequenceTile* tiles;
  const int64_t tasks = G * list_tiles(run, a.offsets, kTile, tiles);

  for_tasks(run, tasks, 2 * D * wide + 2 * size * deep + 2 * kRows * wide + 2 * per_group * wide,
            [&](int64_t task, float* memory) {
    const auto [first, length, tile] = tiles[task / G];
    const int64_t g = task % G, begin = tile * kTile, rows = smaller(kTile, length - begin);
    float* keys = memory;                     // (D, wide)
    float* t_keys = keys + D * wide;          // (D, wide)
    float* values = t_keys + D * wide;        // (keys, deep)
    float* t_values = values + size * deep;   // (keys, deep)
    float* P = t_values + size * deep;        // (kRows, wide)
    float* W = P + kRows * wide;              // (kRows, wide)
    float* mean = W + kRows * wide;           // (per_group, wide): Σ W of each row so far
    float* center = mean + per_group * wide;  // (per_group, wide): c
    const Head k = head_of(a.k, g), v = head_of(a.v, g), t_k = head_of(a.t_k, g), t_v = head_of(a.t_v, g);
    float one[kRows], scales[kRows];
    for (int r = 0; r < kRows; ++r)
      one[r] = 1, scales[r] = scale;

    for (int64_t key_tile = 0; key_tile <= tile; ++key_tile) {
      const int64_t key_begin = key_tile * kTile, count = smaller(kTile, length - key_begin);
      const bool diagonal = key_tile == tile;
      pack_transposed(k, first + key_begin, count, D, keys, wide);
      pack_transposed(t_k, first + key_begin, count, D, t_keys, wide);
      pack(v, first + key_begin, count, D, 1, values, deep);
      pack(t_v, first + key_begin, count, D, 1, t_values, deep);
      for (int64_t i = 0; i < per_group; ++i) {
        const int64_t h = g * per_group + i;
        const Head q = head_of(a.q, h), t_q = head_of(a.t_q, h), y = head_of(a.y, h), t_y = head_of(a.t_y, h);
        for_row_blocks(rows, [&](int64_t row, int64_t R) {
          const int64_t at = first + begin + row;
          const int64_t seen = diagonal ? row + R : count,
                        vectors = (seen + kLanes - 1) / kLanes;  // by the last row
          multiply({D, q.row(at), q.stride, 1, keys, wide, P, wide, scales, nullptr}, R, vectors * kLanes);
          multiply({D, t_q.row(at), t_q.stride, 1, keys, wide, W, wide, scales, nullptr}, R,
                   vectors * kLanes);
          multiply({D, q.row(at), q.stride, 1, t_keys, wide, W, wide, scales, one}, R, vectors * kLanes);
          for (int64_t r = 0; r < R; ++r) {
            float *p_row = P + r * wide, *w_row = W + r * wide;
            const float lse = a.lse.as<float>()[(at + r) * a.lse.stride[0] + h];
            float &total = mean[i * wide + row + r], &c = center[i * wide + row + r];
            Floats mass = zero(), moment = zero(), sums = zero();
            for_scores(p_row, vectors, diagonal ? row + r + 1 : count, [&](int64_t column, Floats x) {
              const Floats p = exp(x - lse);
              mass = mass + p;
              moment = p * load(w_row + column) + moment;
              store(p_row + column, p);
            });
            if (key_tile == 0) {
              const float all = sum(mass);
              c = all > 0 ? sum(moment) / all : 0;
              total = 0;
            }
            for (int64_t column = 0; column < vectors * kLanes; column += kLanes) {
              const Floats w = load(p_row + column) * (load(w_row + column) - c);
              sums = sums + w;
              store(w_row + column, w);
            }
            total += sum(sums);
          }
          multiply(
              {seen, W, wide, 1, values, deep, t_y.row(at), t_y.stride, one, key_tile == 0 ? nullptr : one},
              R, D);
          multiply({seen, P, wide, 1, t_values, deep, t_y.row(at), t_y.stride, one, one}, R, D);
          if (!diagonal) return;
          for (int64_t r = 0; r < R; ++r)
            for (int64_t d = 0; d < D; d += kLanes) {
              float* to = t_y.row(at + r) + d;
              store_partial(
                  to,
                  load_partial(to, D - d) - mean[i * wide + row + r] * load_partial(y.row(at + r) + d, D - d),
                  D - d);
            }
        });
      }
    }
  });
}

}  // namespace hf::HF_ISA
