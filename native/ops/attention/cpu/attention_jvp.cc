// Forward-mode derivative of causal attention (ops/attention/attention.h).
//
// Tasks are those of attention.cc, with tiles of kDerivativeTile rows. P comes from lse, so nothing is
// rescaled. With W = P ∘ (t_s − c) for any number c per row:
//   t_y = Σ_tiles (W v + P t_v) − (Σ W) y
// c is the mean of t_s under P in the first tile of keys: nothing large cancels where a shift of the scores
// is all that moves. What a task holds: cpu::AttentionJvpSizes.
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kTile = kDerivativeTile;

struct Memory {
  float* keys;      // (D, wide)
  float* t_keys;    // (D, wide)
  float* values;    // (keys, deep)
  float* t_values;  // (keys, deep)
  float* P;         // (kRows, wide)
  float* W;         // (kRows, wide)
  float* mean;      // (per_group, wide): Σ W of each row so far
  float* center;    // (per_group, wide): c

  HF_INLINE Memory(float* memory, const cpu::AttentionJvpSizes& sizes)
      : keys(memory),
        t_keys(keys + sizes.transposed()),
        values(t_keys + sizes.transposed()),
        t_values(values + sizes.rows()),
        P(t_values + sizes.rows()),
        W(P + sizes.scores()),
        mean(W + sizes.scores()),
        center(mean + sizes.state()) {}
};

// Turns a row of scores into P and a row of t_s into W = P ∘ (t_s − c), and adds Σ W to the row's total. The
// first tile of keys decides on c.
HF_INLINE void weigh_row(float* p_row, float* w_row, int64_t vectors, int64_t visible, float lse,
                         bool first_tile, float& total, float& c) {
  Floats mass = zero();
  Floats moment = zero();
  Floats sums = zero();
  for_scores(p_row, vectors, visible, [&](int64_t column, Floats x) {
    const Floats p = exp(x - lse);
    mass = mass + p;
    moment = p * load(w_row + column) + moment;
    store(p_row + column, p);
  });
  if (first_tile) {
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

// t_y −= mean · y for one row, at the end of its keys.
HF_INLINE void subtract_mean(float* t_y, const float* y, float mean, int64_t D) {
  for (int64_t d = 0; d < D; d += kLanes) {
    const int64_t count = D - d;
    store_partial(t_y + d, load_partial(t_y + d, count) - mean * load_partial(y + d, count), count);
  }
}

}  // namespace

void run(const AttentionJvpArgs& a, Run& run) {
  const cpu::AttentionJvpSizes sizes(a);
  const int64_t G = a.k.shape[1];
  const int64_t D = sizes.D;
  const int64_t wide = sizes.wide;
  const int64_t deep = sizes.deep;
  const float scale = static_cast<float>(a.scale);
  Scratch scratch(run);
  const SequenceTile* tiles = list_tiles(scratch, a.offsets, kTile);
  const int64_t tasks = G * cpu::count_tiles(a.offsets, kTile);

  for_tasks(run, tasks, sizes.floats(), [&](int64_t task, float* task_memory) {
    const SequenceTile& here = tiles[task / G];
    const int64_t first = here.first, length = here.length, tile = here.tile;
    const int64_t g = task % G;
    const int64_t begin = tile * kTile;
    const int64_t rows = least(kTile, length - begin);
    const Memory memory(task_memory, sizes);
    const Head k = head_of(a.k, g);
    const Head v = head_of(a.v, g);
    const Head t_k = head_of(a.t_k, g);
    const Head t_v = head_of(a.t_v, g);
    float one[kRows];
    float scales[kRows];
    for (int r = 0; r < kRows; ++r) {
      one[r] = 1;
      scales[r] = scale;
    }

    for (int64_t key_tile = 0; key_tile <= tile; ++key_tile) {
      const int64_t key_begin = key_tile * kTile;
      const int64_t count = least(kTile, length - key_begin);
      const bool first_tile = key_tile == 0;
      const bool diagonal = key_tile == tile;
      pack_transposed(k, first + key_begin, count, D, memory.keys, wide);
      pack_transposed(t_k, first + key_begin, count, D, memory.t_keys, wide);
      pack(v, first + key_begin, count, D, 1, memory.values, deep);
      pack(t_v, first + key_begin, count, D, 1, memory.t_values, deep);
      for (int64_t i = 0; i < sizes.per_group; ++i) {
        const int64_t h = g * sizes.per_group + i;
        const Head q = head_of(a.q, h);
        const Head t_q = head_of(a.t_q, h);
        const Head y = head_of(a.y, h);
        const Head t_y = head_of(a.t_y, h);
        for_row_blocks(rows, [&](int64_t row, int64_t R) {
          const int64_t at = first + begin + row;
          const int64_t seen = diagonal ? row + R : count;  // by the last row
          const int64_t vectors = vectors_of(seen);
          float* const mean = memory.mean + i * wide + row;
          float* const center = memory.center + i * wide + row;
          const auto add_scores = [&](Head queries, const float* keys, float* to, const float* beta) {
            multiply({.depth = D,
                      .a = queries.row(at),
                      .a_row = queries.stride,
                      .a_step = 1,
                      .b = keys,
                      .b_row = wide,
                      .c = to,
                      .c_row = wide,
                      .alpha = scales,
                      .beta = beta},
                     R, vectors * kLanes);
          };
          add_scores(q, memory.keys, memory.P, nullptr);
          add_scores(t_q, memory.keys, memory.W, nullptr);
          add_scores(q, memory.t_keys, memory.W, one);
          for (int64_t r = 0; r < R; ++r) {
            const float lse = a.lse.as<float>()[(at + r) * a.lse.stride[0] + h];
            weigh_row(memory.P + r * wide, memory.W + r * wide, vectors, diagonal ? row + r + 1 : count, lse,
                      first_tile, mean[r], center[r]);
          }
          const auto add_values = [&](const float* weights, const float* values, const float* beta) {
            multiply({.depth = seen,
                      .a = weights,
                      .a_row = wide,
                      .a_step = 1,
                      .b = values,
                      .b_row = deep,
                      .c = t_y.row(at),
                      .c_row = t_y.stride,
                      .alpha = one,
                      .beta = beta},
                     R, D);
          };
          add_values(memory.W, memory.values, first_tile ? nullptr : one);
          add_values(memory.P, memory.t_values, one);
          if (!diagonal) return;
          for (int64_t r = 0; r < R; ++r)
            subtract_mean(t_y.row(at + r), y.row(at + r), mean[r], D);
        });
      }
    }
  });
}

}  // namespace hf::HF_ISA
