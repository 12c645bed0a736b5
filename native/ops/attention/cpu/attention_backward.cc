// One task is one sequence and one key/value head: nobody else adds to its d_k and d_v, and the sums run in
// one order. Key tiles outside, query heads and query tiles inside; P and dS of one pair of tiles are all
// that is kept of the scores. Scratch per thread: P, dS, and six tiles of k, v, q and d_y.
#include "ops/attention/cpu/attention_tile.h"

namespace hf::HF_ISA {
namespace {
constexpr int64_t kTile = 64;

// to[i] = ⟨row i of a, row `first` + i of b⟩ as the chain that a product would sum: where an output row
// equals a value row (all the probability on one key), P ∘ (d_y vᵀ − ⟨d_y, y⟩) is exactly 0. Writes whole
// vectors of `to`.
HF_NOINLINE void dots(const float* a, int64_t a_row, Head b, int64_t first, int64_t rows, int64_t D,
                      float* to) {
  for (int64_t i = 0; i < rows; i += kLanes) {
    Floats sums = zero();
    for (int64_t d = 0; d < D; d += kLanes) {
      Floats left[kLanes], right[kLanes];
      load_square(a + i * a_row + d, a_row, rows - i, D - d, left);
      load_square(b.row(first + i) + d, b.stride, rows - i, D - d, right);
      transpose(left), transpose(right);
      for (int r = 0; r < kLanes; ++r)
        sums = left[r] * right[r] + sums;
    }
    store(to + i, sums);
  }
}

}  // namespace

void run(const AttentionBackwardArgs& a, Run& run) {
  const int64_t G = a.k.shape[1], per_group = a.q.shape[1] / G, D = a.q.shape[2], S = a.offsets.shape[0] - 1;
  const int64_t size = longest(a.offsets, kTile), wide = tile_stride(size), deep = tile_stride(D);
  const float scale = static_cast<float>(a.scale);
  const int32_t* offsets = a.offsets.as<int32_t>();
  Scratch scratch(run);

  for_tasks(run, S * G, 2 * size * wide + 2 * D * wide + 3 * size * deep + 2 * wide,
            [&](int64_t task, float* memory) {
    const int64_t s = task / G, g = task % G, first = offsets[s], length = offsets[s + 1] - offsets[s];
    float* P = memory;                     // (queries, wide)
    float* dS = P + size * wide;           // (queries, wide): P ∘ (d_y vᵀ − mean)
    float* keys_t = dS + size * wide;      // (D, wide)
    float* values_t = keys_t + D * wide;   // (D, wide)
    float* keys = values_t + D * wide;     // (keys, deep)
    float* queries = keys + size * deep;   // (queries, deep), times scale
    float* d_out = queries + size * deep;  // (queries, deep)
    float* lse = d_out + size * deep;      // (queries)
    float* mean = lse + wide;              // (queries): Σ_j P_ij ⟨d_y_i, v_j⟩ = ⟨d_y_i, y_i⟩
    const Head k = head_of(a.k, g), v = head_of(a.v, g), d_k = head_of(a.d_k, g), d_v = head_of(a.d_v, g);
    float one[kRows], scales[kRows];
    for (int r = 0; r < kRows; ++r)
      one[r] = 1, scales[r] = scale;

    for (int64_t key_begin = 0; key_begin < length; key_begin += kTile) {
      const int64_t count = smaller(kTile, length - key_begin);
      pack_transposed(k, first + key_begin, count, D, keys_t, wide);
      pack_transposed(v, first + key_begin, count, D, values_t, wide);
      pack(k, first + key_begin, count, D, 1, keys, deep);
      for (int64_t i = 0; i < per_group; ++i) {
        const int64_t h = g * per_group + i;
        const Head q = head_of(a.q, h), y = head_of(a.y, h), d_y = head_of(a.d_y, h), d_q = head_of(a.d_q, h);
        for (int64_t begin = key_begin; begin < length; begin += kTile) {
          const int64_t rows = smaller(kTile, length - begin);
          const bool diagonal = begin == key_begin;
          pack(q, first + begin, rows, D, scale, queries, deep);
          pack(d_y, first + begin, rows, D, 1, d_out, deep);
          dots(d_out, deep, y, first + begin, rows, D, mean);
          for (int64_t row = 0; row < rows; ++row)
            lse[row] = a.lse.as<float>()[(first + begin + row) * a.lse.stride[0] + h];
          for_row_blocks(rows, [&](int64_t row, int64_t R) {
            const int64_t seen = diagonal ? row + R : count,
                          vectors = (seen + kLanes - 1) / kLanes;  // by the last row
            multiply({D, queries + row * deep, deep, 1, keys_t, wide, P + row * wide, wide, one, nullptr}, R,
                     vectors * kLanes);
            multiply({D, d_out + row * deep, deep, 1, values_t, wide, dS + row * wide, wide, one, nullptr}, R,
                     vectors * kLanes);
            for (int64_t r = row; r < row + R; ++r) {
              float *p_row = P + r * wide, *d_row = dS + r * wide;
              for_scores(p_row, vectors, diagonal ? r + 1 : count, [&](int64_t column, Floats x) {
                const Floats p = exp(x - lse[r]);
                store(p_row + column, p);
                store(d_row + column, p * (load(d_row + column) - mean[r]));
              });
            }
            multiply({seen, dS + row * wide, wide, 1, keys, deep, d_q.row(first + begin + row), d_q.stride,
                      scales, key_begin == 0 ? nullptr : one},
                     R, D);
          });
          const float* before = i == 0 && diagonal ? nullptr : one;
          for_row_blocks(count, [&](int64_t key, int64_t R) {
            // On the diagonal, queries before the block see none of its keys, and their P was never written
            // there: rows and keys are cut into the same blocks.
            const int64_t from = diagonal ? key : 0;
            multiply({rows - from, P + from * wide + key, 1, wide, d_out + from * deep, deep,
                      d_v.row(first + key_begin + key), d_v.stride, one, before},
                     R, D);
            multiply({rows - from, dS + from * wide + key, 1, wide, queries + from * deep, deep,
                      d_k.row(first + key_begin + key), d_k.stride, one, before},
                     R, D);
          });
        }
      }
    }
  });
}

}  // namespace hf::HF_ISA
