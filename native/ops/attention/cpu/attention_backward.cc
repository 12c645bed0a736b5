// Backward pass of causal attention (ops/attention/attention.h).
//
// A task owns one sequence and one key/value head: nobody else adds to its d_k and d_v, and the sums run in
// one order. The loops are key tiles, then query heads, then query tiles from the diagonal on. P and dS of
// one pair of tiles are all that is kept of the scores. A task holds P, dS and six tiles of k, v, q and d_y
// (cpu::AttentionBackwardSizes).
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kTile = kDerivativeTile;

struct Memory {
  float* P;         // (queries, wide): probabilities
  float* dS;        // (queries, wide): P ∘ (d_y vᵀ − mean)
  float* keys_t;    // (D, wide)
  float* values_t;  // (D, wide)
  float* keys;      // (keys, deep)
  float* queries;   // (queries, deep), times scale
  float* d_out;     // (queries, deep): d_y
  float* lse;       // (queries)
  float* mean;      // (queries): Σ_j P_ij ⟨d_y_i, v_j⟩ = ⟨d_y_i, y_i⟩

  HF_INLINE Memory(float* memory, const cpu::AttentionBackwardSizes& sizes)
      : P(memory),
        dS(P + sizes.square()),
        keys_t(dS + sizes.square()),
        values_t(keys_t + sizes.transposed()),
        keys(values_t + sizes.transposed()),
        queries(keys + sizes.rows()),
        d_out(queries + sizes.rows()),
        lse(d_out + sizes.rows()),
        mean(lse + sizes.wide) {}
};

// One factor per row of a block: all 1, or all `scale`.
struct RowFactors {
  float one[kRows];
  float scales[kRows];

  HF_INLINE explicit RowFactors(float scale) {
    for (int r = 0; r < kRows; ++r) {
      one[r] = 1;
      scales[r] = scale;
    }
  }
};

// A tile of query rows of one head against a tile of keys of their sequence.
struct TilePair {
  int64_t first;      // row of the sequence's begin
  int64_t key_begin;  // in the sequence
  int64_t keys;
  int64_t begin;  // of the queries, in the sequence
  int64_t rows;

  HF_INLINE bool diagonal() const { return begin == key_begin; }
};

// to[i] = ⟨row i of a, row `first` + i of b⟩ as the chain that a product would sum: where an output row
// equals a value row (all the probability on one key), P ∘ (d_y vᵀ − ⟨d_y, y⟩) is exactly 0. Writes whole
// vectors of `to`.
HF_NOINLINE void dots(const float* a, int64_t a_row, Head b, int64_t first, int64_t rows, int64_t D,
                      float* to) {
  for (int64_t i = 0; i < rows; i += kLanes) {
    Floats sums = zero();
    for (int64_t d = 0; d < D; d += kLanes) {
      Floats left[kLanes];
      Floats right[kLanes];
      load_square(a + i * a_row + d, a_row, rows - i, D - d, left);
      load_square(b.row(first + i) + d, b.stride, rows - i, D - d, right);
      transpose(left);
      transpose(right);
      for (int r = 0; r < kLanes; ++r)
        sums = left[r] * right[r] + sums;
    }
    store(to + i, sums);
  }
}

// P and dS of query rows [row, row + R) of a pair of tiles.
HF_INLINE void scores_of(const Memory& memory, const cpu::AttentionBackwardSizes& sizes, const TilePair& pair,
                         const RowFactors& factors, int64_t row, int64_t R) {
  const int64_t seen = pair.diagonal() ? row + R : pair.keys;  // by the last row
  const int64_t vectors = vectors_of(seen);
  const auto multiply_rows = [&](const float* rows, const float* columns, float* to) {
    multiply({.depth = sizes.D,
              .a = rows + row * sizes.deep,
              .a_row = sizes.deep,
              .a_step = 1,
              .b = columns,
              .b_row = sizes.wide,
              .c = to + row * sizes.wide,
              .c_row = sizes.wide,
              .alpha = factors.one,
              .beta = nullptr},
             R, vectors * kLanes);
  };
  multiply_rows(memory.queries, memory.keys_t, memory.P);
  multiply_rows(memory.d_out, memory.values_t, memory.dS);
  for (int64_t r = row; r < row + R; ++r) {
    float* const p_row = memory.P + r * sizes.wide;
    float* const d_row = memory.dS + r * sizes.wide;
    const float lse = memory.lse[r];
    const float mean = memory.mean[r];
    for_scores(p_row, vectors, pair.diagonal() ? r + 1 : pair.keys, [&](int64_t column, Floats x) {
      const Floats p = exp(x - lse);
      store(p_row + column, p);
      store(d_row + column, p * (load(d_row + column) - mean));
    });
  }
}

// d_k and d_v of the pair's keys: Pᵀ d_y and dSᵀ q, added to what is there unless `overwrite`.
HF_INLINE void add_to_keys(const Memory& memory, const cpu::AttentionBackwardSizes& sizes,
                           const TilePair& pair, const RowFactors& factors, Head d_k, Head d_v,
                           bool overwrite) {
  for_row_blocks(pair.keys, [&](int64_t key, int64_t R) {
    // On the diagonal, queries before the block see none of its keys, and their P was never written there:
    // rows and keys are cut into the same blocks.
    const int64_t from = pair.diagonal() ? key : 0;
    const int64_t at = pair.first + pair.key_begin + key;
    const auto multiply_transposed = [&](const float* scores, const float* rows, Head to) {
      multiply({.depth = pair.rows - from,
                .a = scores + from * sizes.wide + key,
                .a_row = 1,
                .a_step = sizes.wide,
                .b = rows + from * sizes.deep,
                .b_row = sizes.deep,
                .c = to.row(at),
                .c_row = to.stride,
                .alpha = factors.one,
                .beta = overwrite ? nullptr : factors.one},
               R, sizes.D);
    };
    multiply_transposed(memory.P, memory.d_out, d_v);
    multiply_transposed(memory.dS, memory.queries, d_k);
  });
}

}  // namespace

void run(const AttentionBackwardArgs& a, Run& run) {
  const cpu::AttentionBackwardSizes sizes(a);
  const int64_t G = a.k.shape[1];
  const int64_t per_group = a.q.shape[1] / G;
  const int64_t D = sizes.D;
  const int64_t S = a.offsets.shape[0] - 1;
  const float scale = static_cast<float>(a.scale);
  const int32_t* offsets = a.offsets.as<int32_t>();
  Scratch scratch(run);

  for_tasks(run, S * G, sizes.floats(), [&](int64_t task, float* task_memory) {
    const int64_t s = task / G;
    const int64_t g = task % G;
    const int64_t first = offsets[s];
    const int64_t length = offsets[s + 1] - offsets[s];
    const Memory memory(task_memory, sizes);
    const RowFactors factors(scale);
    const Head k = head_of(a.k, g);
    const Head v = head_of(a.v, g);
    const Head d_k = head_of(a.d_k, g);
    const Head d_v = head_of(a.d_v, g);

    for (int64_t key_begin = 0; key_begin < length; key_begin += kTile) {
      const int64_t keys = least(kTile, length - key_begin);
      pack_transposed(k, first + key_begin, keys, D, memory.keys_t, sizes.wide);
      pack_transposed(v, first + key_begin, keys, D, memory.values_t, sizes.wide);
      pack(k, first + key_begin, keys, D, 1, memory.keys, sizes.deep);
      for (int64_t i = 0; i < per_group; ++i) {
        const int64_t h = g * per_group + i;
        const Head q = head_of(a.q, h);
        const Head y = head_of(a.y, h);
        const Head d_y = head_of(a.d_y, h);
        const Head d_q = head_of(a.d_q, h);
        for (int64_t begin = key_begin; begin < length; begin += kTile) {
          const int64_t rows = least(kTile, length - begin);
          const TilePair pair = {first, key_begin, keys, begin, rows};
          pack(q, first + begin, rows, D, scale, memory.queries, sizes.deep);
          pack(d_y, first + begin, rows, D, 1, memory.d_out, sizes.deep);
          dots(memory.d_out, sizes.deep, y, first + begin, rows, D, memory.mean);
          for (int64_t row = 0; row < rows; ++row)
            memory.lse[row] = a.lse.as<float>()[(first + begin + row) * a.lse.stride[0] + h];
          for_row_blocks(rows, [&](int64_t row, int64_t R) {
            scores_of(memory, sizes, pair, factors, row, R);
            multiply({.depth = pair.diagonal() ? row + R : keys,
                      .a = memory.dS + row * sizes.wide,
                      .a_row = sizes.wide,
                      .a_step = 1,
                      .b = memory.keys,
                      .b_row = sizes.deep,
                      .c = d_q.row(first + begin + row),
                      .c_row = d_q.stride,
                      .alpha = factors.scales,
                      .beta = key_begin == 0 ? nullptr : factors.one},
                     R, D);
          });
          const bool first_of_key_tile = i == 0 && pair.diagonal();
          add_to_keys(memory, sizes, pair, factors, d_k, d_v, first_of_key_tile);
        }
      }
    }
  });
}

}  // namespace hf::HF_ISA
