// One task is kTile query rows of one sequence, for all query heads of one key/value head. It goes over the
// tiles of earlier keys with the online softmax (Milakov & Gimelshein 2018; Dao et al. 2022): when the
// maximum rises from m to m', what was summed so far is scaled by e^(m − m'). y itself is the accumulator;
// the last tile of a row, the one with its diagonal, divides by the sum. Scratch per thread: one kᵀ and one v
// tile, kRows rows of scores.
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {
constexpr int64_t kTile = kKeyTile;
constexpr int kGroups = (kRows + kLanes - 1) / kLanes;  // vectors that hold one number per row of a block
}  // namespace

void run(const AttentionArgs& a, Run& run) {
  const int64_t G = a.k.shape[1], per_group = a.q.shape[1] / G, D = a.q.shape[2];
  const int64_t size = longest(a.offsets, kTile), keys_row = tile_stride(size), values_row = tile_stride(D);
  const float scale = static_cast<float>(a.scale);
  Scratch scratch(run);
  SequenceTile* tiles;
  const int64_t tasks = G * list_tiles(run, a.offsets, kTile, tiles);
  const int64_t keys_size = D * keys_row, values_size = size * values_row, scores_size = kRows * keys_row,
                state_size = per_group * keys_row;

  for_tasks(run, tasks, keys_size + values_size + scores_size + 2 * state_size,
            [&](int64_t task, float* memory) {
    const auto [first, length, tile] = tiles[task / G];
    const int64_t g = task % G, begin = tile * kTile, rows = smaller(kTile, length - begin);
    float* keys = memory;                   // (D, keys_row)
    float* values = keys + keys_size;       // (size, values_row)
    float* scores = values + values_size;   // (kRows, keys_row)
    float* maximum = scores + scores_size;  // (per_group, keys_row): of each row so far
    float* total = maximum + state_size;    // Σ e^(score − maximum)
    const Head k = head_of(a.k, g), v = head_of(a.v, g);
    float scale_of[kRows];
    for (float& x : scale_of)
      x = scale;

    for (int64_t key_tile = 0; key_tile <= tile; ++key_tile) {
      const int64_t key_begin = key_tile * kTile, count = smaller(kTile, length - key_begin);
      const bool diagonal = key_tile == tile;
      pack_transposed(k, first + key_begin, count, D, keys, keys_row);
      pack(v, first + key_begin, count, D, 1, values, values_row);
      for (int64_t i = 0; i < per_group; ++i) {
        const int64_t h = g * per_group + i;
        const Head q = head_of(a.q, h), y = head_of(a.y, h);
        float *m = maximum + i * keys_row, *l = total + i * keys_row;
        for_row_blocks(rows, [&](int64_t row, int64_t R) {
          const int64_t seen = diagonal ? row + R : count,
                        vectors = (seen + kLanes - 1) / kLanes;  // by the last row
          multiply({D, q.row(first + begin + row), q.stride, 1, keys, keys_row, scores, keys_row, scale_of,
                    nullptr},
                   R, vectors * kLanes);
          float alpha[kGroups * kLanes], beta[kGroups * kLanes];
          for (int64_t from = 0; from < R; from += kLanes) {
            // kLanes rows at a time, row r in lane r − from.
            const int64_t some = smaller(kLanes, R - from);
            const auto visible = [&](int64_t r) { return diagonal ? row + from + r + 1 : count; };
            float* s = scores + from * keys_row;
            Floats partial[kLanes];
            for (int64_t r = 0; r < kLanes; ++r) {
              partial[r] = broadcast(-__FLT_MAX__);
              if (r < some)
                for_scores(s + r * keys_row, vectors, visible(r),
                           [&](int64_t, Floats x) { partial[r] = max(x, partial[r]); });
            }
            float *m_rows = m + row + from, *l_rows = l + row + from;
            const Floats before = load_partial(m_rows, some), own = row_maxima(partial);
            const Floats top = key_tile == 0 ? own : max(before, own);
            float tops[kLanes];
            store(tops, top);
            for (int64_t r = 0; r < kLanes; ++r) {
              partial[r] = zero();
              if (r < some)
                for_scores(s + r * keys_row, vectors, visible(r), [&](int64_t column, Floats x) {
                  const Floats p = exp(x - tops[r]);
                  partial[r] = partial[r] + p;
                  store(s + r * keys_row + column, p);
                });
            }
            Floats sums = row_sums(partial), kept = zero();
            if (key_tile > 0)
              kept = exp(before - top), sums = multiply_add(load_partial(l_rows, some), kept, sums);
            store_partial(m_rows, top, some);
            store_partial(l_rows, sums, some);
            const Floats factor = diagonal ? 1.0f / sums : broadcast(1.0f);
            store(alpha + from, factor);
            store(beta + from, kept * factor);
          }
          multiply({seen, scores, keys_row, 1, values, values_row, y.row(first + begin + row), y.stride,
                    alpha, key_tile == 0 ? nullptr : beta},
                   R, D);
        });
        if (!diagonal || !a.lse) continue;
        float* lse = a.lse.as<float>() + (first + begin) * a.lse.stride[0] + h;
        for (int64_t row = 0; row < rows; row += kLanes) {
          const Floats value = load(m + row) + log(load(l + row));
          const int64_t some = smaller(kLanes, rows - row);
          for (int64_t r = 0; r < some; ++r)
            lse[(row + r) * a.lse.stride[0]] = value[r];
        }
      }
    }
  });
}

}  // namespace hf::HF_ISA
