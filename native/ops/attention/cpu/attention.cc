// Causal attention (ops/attention/attention.h) with the online softmax (Milakov & Gimelshein 2018; Dao et al.
// 2022).
//
// A task owns kKeyTile query rows of one sequence, for all query heads of one key/value head. It goes over
// the tiles of keys up to its own. When the maximum of a row rises from m to m', what was summed so far is
// scaled by e^(m − m'). y itself is the accumulator; the last tile of a row, the one with its diagonal,
// divides by the sum. A task holds one kᵀ tile and one v tile, packed once for all its query heads, and the
// scores of kRows query rows (cpu::AttentionSizes).
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int kGroups = (kRows + kLanes - 1) / kLanes;  // vectors that hold one number per row of a block

struct Memory {
  float* keys;     // (D, keys_row)
  float* values;   // (size, values_row)
  float* scores;   // (kRows, keys_row)
  float* maximum;  // (per_group, keys_row): the largest score of each row so far
  float* total;    // (per_group, keys_row): Σ e^(score − maximum)

  HF_INLINE Memory(float* memory, const cpu::AttentionSizes& sizes)
      : keys(memory),
        values(keys + sizes.keys()),
        scores(values + sizes.values()),
        maximum(scores + sizes.scores()),
        total(maximum + sizes.state()) {}
};

// A block of query rows against one tile of keys.
struct ScoreBlock {
  float* scores;  // rows `stride` apart
  int64_t stride;
  int64_t first_row;  // of the block in the tile of queries
  int64_t rows;
  int64_t keys;   // of the tile
  bool first;     // the first tile of keys: nothing was summed before
  bool diagonal;  // the tile with the queries' own keys, which is the last one

  // Keys that the block's last row sees, and vectors that hold them.
  HF_INLINE int64_t seen() const { return diagonal ? first_row + rows : keys; }
  HF_INLINE int64_t vectors() const { return vectors_of(seen()); }
  HF_INLINE int64_t visible(int64_t row) const { return diagonal ? first_row + row + 1 : keys; }
};

// Turns the scores of up to kLanes rows of a block, from `from` on, into e^(score − maximum), and updates the
// rows' maxima and totals. Row r is in lane r − from. alpha and beta are set to what the product with v and
// the old y are to be multiplied by.
HF_INLINE void softmax_rows(const ScoreBlock& block, int64_t from, float* maximum, float* total, float* alpha,
                            float* beta) {
  const int64_t some = least(kLanes, block.rows - from);
  const int64_t vectors = block.vectors();
  float* const scores = block.scores + from * block.stride;
  Floats partial[kLanes];
  for (int64_t r = 0; r < kLanes; ++r) {
    partial[r] = broadcast(-__FLT_MAX__);
    if (r < some)
      for_scores(scores + r * block.stride, vectors, block.visible(from + r),
                 [&](int64_t, Floats x) { partial[r] = max(x, partial[r]); });
  }
  const Floats before = load_partial(maximum, some);
  const Floats own = row_maxima(partial);
  const Floats top = block.first ? own : max(before, own);
  float tops[kLanes];
  store(tops, top);
  for (int64_t r = 0; r < kLanes; ++r) {
    partial[r] = zero();
    if (r < some)
      for_scores(scores + r * block.stride, vectors, block.visible(from + r), [&](int64_t column, Floats x) {
        const Floats p = exp(x - tops[r]);
        partial[r] = partial[r] + p;
        store(scores + r * block.stride + column, p);
      });
  }
  Floats sums = row_sums(partial);
  Floats kept = zero();
  if (!block.first) {
    kept = exp(before - top);
    sums = multiply_add(load_partial(total, some), kept, sums);
  }
  store_partial(maximum, top, some);
  store_partial(total, sums, some);
  const Floats factor = block.diagonal ? 1.0f / sums : broadcast(1.0f);
  store(alpha, factor);
  store(beta, kept * factor);
}

// lse of one head's rows, from the maxima and totals at their end.
HF_INLINE void store_lse(const float* maximum, const float* total, int64_t rows, float* lse, int64_t stride) {
  for (int64_t row = 0; row < rows; row += kLanes) {
    const Floats value = load(maximum + row) + log(load(total + row));
    const int64_t some = least(kLanes, rows - row);
    for (int64_t r = 0; r < some; ++r)
      lse[(row + r) * stride] = value[r];
  }
}

}  // namespace

void run(const AttentionArgs& a, Run& run) {
  const cpu::AttentionSizes sizes(a);
  const int64_t G = a.k.shape[1];
  const int64_t D = sizes.D;
  const int64_t keys_row = sizes.keys_row;
  const float scale = static_cast<float>(a.scale);
  Scratch scratch(run);
  const SequenceTile* tiles = list_tiles(scratch, a.offsets, kKeyTile);
  const int64_t tasks = G * cpu::count_tiles(a.offsets, kKeyTile);

  for_tasks(run, tasks, sizes.floats(), [&](int64_t task, float* task_memory) {
    const SequenceTile& here = tiles[task / G];
    const int64_t first = here.first, length = here.length, tile = here.tile;
    const int64_t g = task % G;
    const int64_t begin = tile * kKeyTile;
    const int64_t rows = least(kKeyTile, length - begin);
    const Memory memory(task_memory, sizes);
    const Head k = head_of(a.k, g);
    const Head v = head_of(a.v, g);
    float scales[kRows];
    for (float& x : scales)
      x = scale;

    for (int64_t key_tile = 0; key_tile <= tile; ++key_tile) {
      const int64_t key_begin = key_tile * kKeyTile;
      const int64_t count = least(kKeyTile, length - key_begin);
      const bool diagonal = key_tile == tile;
      pack_transposed(k, first + key_begin, count, D, memory.keys, keys_row);
      pack(v, first + key_begin, count, D, 1, memory.values, sizes.values_row);
      for (int64_t i = 0; i < sizes.per_group; ++i) {
        const int64_t h = g * sizes.per_group + i;
        const Head q = head_of(a.q, h);
        const Head y = head_of(a.y, h);
        float* const maximum = memory.maximum + i * keys_row;
        float* const total = memory.total + i * keys_row;
        for_row_blocks(rows, [&](int64_t row, int64_t R) {
          const int64_t at = first + begin + row;
          const ScoreBlock block = {memory.scores, keys_row, row, R, count, key_tile == 0, diagonal};
          multiply({.depth = D,
                    .a = q.row(at),
                    .a_row = q.stride,
                    .a_step = 1,
                    .b = memory.keys,
                    .b_row = keys_row,
                    .c = memory.scores,
                    .c_row = keys_row,
                    .alpha = scales,
                    .beta = nullptr},
                   R, block.vectors() * kLanes);
          float alpha[kGroups * kLanes];
          float beta[kGroups * kLanes];
          for (int64_t from = 0; from < R; from += kLanes)
            softmax_rows(block, from, maximum + row + from, total + row + from, alpha + from, beta + from);
          multiply({.depth = block.seen(),
                    .a = memory.scores,
                    .a_row = keys_row,
                    .a_step = 1,
                    .b = memory.values,
                    .b_row = sizes.values_row,
                    .c = y.row(at),
                    .c_row = y.stride,
                    .alpha = alpha,
                    .beta = key_tile == 0 ? nullptr : beta},
                   R, D);
        });
        if (!diagonal || !a.lse) continue;
        float* lse = a.lse.as<float>() + (first + begin) * a.lse.stride[0] + h;
        store_lse(maximum, total, rows, lse, a.lse.stride[0]);
      }
    }
  });
}

}  // namespace hf::HF_ISA
