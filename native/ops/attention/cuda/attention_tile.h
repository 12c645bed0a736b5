// Pieces of attention that its passes share, and the forward pass, whose order of sums decoding keeps. A
// block has 64 rows (queries, or keys in the backward pass for keys), a warp 16 of them and all 64 columns of
// the other side, so a row's maximum and sums stay within four neighbouring lanes. Outputs are 64 of the D
// columns; larger heads take several blocks, each with the scores anew.
#pragma once

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"

namespace hf::cuda {

using AttentionShape = BlockShape<64, 64, 4, 1>;
constexpr int kAttentionTile = 64;
template <Math math>
constexpr int kHalves = kAttentionTile / kTileDepth<math>;  // tiles of words that 64 numbers of depth fill
constexpr int kSquareWords =
    2 * kAttentionTile * kTileStep;  // 64 × 64 numbers as an operand, in either width
using Scores = float[1][8][4];

// Heads (N, H, D) of which one head's rows are an operand.
struct HeadsOf {
  void* data;  // float32 or bfloat16
  int64_t step, head_step;
  bool vectors, bf16;  // vectors: four numbers of a head are one access

  HF_DEVICE int64_t place(int64_t row, int64_t head) const { return row * step + head * head_step; }
  // One head's rows from `row` on, D numbers each.
  HF_DEVICE Rows rows(int64_t row, int64_t head) const {
    return {static_cast<char*>(data) + place(row, head) * (bf16 ? 2 : 4), step, vectors, bf16};
  }
};
inline HeadsOf heads_of(const View& v) {
  return {v.data, v.stride[0], v.stride[1],
          reinterpret_cast<uintptr_t>(v.data) % (4 * dtype_bytes(v.dtype)) == 0 && v.stride[0] % 4 == 0 &&
              v.stride[1] % 4 == 0,
          v.dtype == DType::kBF16};
}
// One block of rows: a sequence's first row and end, and where the block begins.
struct RowTile {
  int32_t first, end, row0;
};

struct Problem {
  HeadsOf q, k, v, y, d_y, t_q, t_k, t_v;
  HeadsOf out, d_k, d_v;  // y, d_q or t_y; the backward pass's others
  const float* lse;
  float* lse_out;
  int64_t lse_step;
  const float* mean;  // (N, H) ⟨d_y, y⟩
  const RowTile* tiles;
  int64_t heads, groups, dims, chunks;
  float scale;
};

// Rows `first` … of head h. Only bf16 math meets bfloat16 in memory; the compiler is told, since the others
// have no registers to spare.
template <Math math>
HF_DEVICE Rows rows_of_head(const HeadsOf& x, int64_t first, int64_t h) {
  if (math == Math::kBf16) return x.rows(first, h);
  return {static_cast<float*>(x.data) + x.place(first, h), x.step, x.vectors, false};
}
template <Math math>
HF_DEVICE Operand head_rows(const HeadsOf& x, int64_t first, int64_t h) {
  const Rows rows = rows_of_head<math>(x, first, h);
  Operand o;
  o.data = rows.data;
  o.row_step = rows.step;
  o.depth_step = 1;
  o.vectors = rows.aligned && !rows.bf16;
  o.bf16 = rows.bf16;
  return o;
}
HF_DEVICE Operand transposed(const Operand& o) {
  Operand t = o;
  t.row_step = o.depth_step;
  t.depth_step = o.row_step;
  t.vectors = false;
  return t;
}

// The warp's 16 × 64 numbers as rows of an operand of depth 64 (kHalves tiles), for its own use after
// __syncwarp().
template <Math math>
HF_DEVICE void store_square(Shared<uint32_t> square, const Scores& x) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int r = 0; r < 4; r += 2) {
      const int row = AttentionShape::warp_row() + g + 4 * r, number = 8 * j + 2 * t;
      if constexpr (math == Math::kBf16) {
        square[row * kTileStep + number / 2] = to_bf16x2(x[0][j][r], x[0][j][r + 1]);
      } else {
        const int at = (number / kTileWords * kAttentionTile + row) * kTileStep + number % kTileWords;
        square[at] = __float_as_uint(x[0][j][r]);
        square[at + 1] = __float_as_uint(x[0][j][r + 1]);
      }
    }
}

// Columns d0 … d0 + 63 of rows j0 … j0 + 63 of `o`, turned: an operand of 64 columns and depth 64.
// Asynchronous, as load_tile.
template <Math math>
HF_DEVICE void load_turned(Shared<uint32_t> square, const Operand& o, int64_t j0, int64_t j_end, int64_t d0,
                           int64_t d_end) {
  for (int half = 0; half < kHalves<math>; ++half)
    load_tile<math, kAttentionTile, AttentionShape::kThreads>(square + half * kAttentionTile * kTileStep,
                                                              transposed(o), d0, d_end,
                                                              j0 + half * kTileDepth<math>, j_end);
}

// acc += square (own 16 rows) · turned
template <Math math>
HF_DEVICE void square_product(Scores& acc, Shared<uint32_t> square, Shared<uint32_t> turned) {
  for (int half = 0; half < kHalves<math>; ++half)
    warp_product<math>(acc, square + (half * kAttentionTile + AttentionShape::warp_row()) * kTileStep,
                       turned + half * kAttentionTile * kTileStep, kTileStep, kTileStep, kTileWords);
}

// Over the four lanes that share a row.
HF_DEVICE float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
HF_DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

constexpr int kForwardShared = AttentionShape::kSharedBytes + 2 * kSquareWords * 4;

// Rows of queries against keys and values, all from their own first row.
struct AttentionTile {
  Operand q, k, v;
  int64_t row0, rows, dims;  // row r sees keys 0 … r
  float scale;
  Rows y;
  float* lse;  // may be null
  int64_t lse_step;
};

// Online softmax over tiles of 64 keys (Dao et al. 2022). The sums of a row run in the same order whichever
// rows are beside it.
template <Math math>
HF_DEVICE void attend(const AttentionTile& p, int64_t d0, bool write_lse) {
  SharedMemory memory;
  const Shared<uint32_t> stages =
      memory.take<uint32_t>(AttentionShape::kStages * AttentionShape::kStageWords);
  const Shared<uint32_t> square = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned = memory.take<uint32_t>(kSquareWords);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int64_t first = p.row0 + AttentionShape::warp_row();  // of the warp
  const bool active = first < p.rows;
  float out[1][8][4], most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  clear(out);
  const int64_t keys = p.row0 + kAttentionTile < p.rows ? p.row0 + kAttentionTile : p.rows;
  for (int64_t j0 = 0; j0 < keys; j0 += kAttentionTile) {
    load_turned<math>(turned, p.v, j0, keys, d0, p.dims);  // arrives while the scores are computed
    cp_async_commit();
    Scores s;
    clear(s);
    block_product<math, AttentionShape>(s, stages, p.q, p.row0, p.rows, p.k, j0, keys, 0, p.dims, active);
    if (active) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = first + g + 8 * half, limit = row + 1 < keys ? row + 1 : keys;
        float best = most[half];
#pragma unroll
        for (int j = 0; j < 8; ++j)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float& x = s[0][j][2 * half + r];
            x = row < p.rows && j0 + 8 * j + 2 * t + r < limit ? p.scale * x : -INFINITY;
            best = fmaxf(best, x);
          }
        best = quad_max(best);
        const float shrink = most[half] == -INFINITY ? 0.0f : expf(most[half] - best);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 8; ++j)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float& x = s[0][j][2 * half + r];
            x = x == -INFINITY ? 0.0f : expf(x - best);
            sum += x;
            out[0][j][2 * half + r] *= shrink;
          }
        total[half] = total[half] * shrink + quad_sum(sum);
        most[half] = best;
      }
      store_square<math>(square, s);
      __syncwarp();
      square_product<math>(out, square, turned);
    }
    __syncthreads();  // `turned` is free
  }
  if (!active) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + g + 8 * half;
    if (row >= p.rows) continue;
    const float inverse = 1.0f / total[half];
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t d = d0 + 8 * j + 2 * t + r;
        if (d < p.dims) p.y.put(row, d, out[0][j][2 * half + r] * inverse);
      }
    if (p.lse && write_lse && t == 0) p.lse[row * p.lse_step] = most[half] + logf(total[half]);
  }
}

}  // namespace hf::cuda
