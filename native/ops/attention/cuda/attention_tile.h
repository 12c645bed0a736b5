// Attention in tiles of 64 × 64 scores: the pieces that its passes share, and the forward pass, whose order
// of sums decoding keeps (attention_decode.cu). A block has 64 rows (queries, or keys in the backward pass
// for keys). A warp has 16 of them and all 64 columns of the other side, so that a row's maximum and sums
// stay within four neighbouring lanes (a *quad*). The scores of a tile go through shared memory as a
// *square*, an operand of the next product. A block's outputs are 64 of the D columns; larger heads take
// several blocks, and each computes the scores anew.
#pragma once

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"

namespace hf::cuda {

using AttentionShape = BlockShape<64, 64, 4, 1>;
constexpr int kAttentionTile = 64;
// Tiles (tile.h) that 64 numbers of depth fill.
template <Math math>
constexpr int kHalves = kAttentionTile / kTileDepth<math>;
// Words of 64 × 64 numbers as an operand, in either width.
constexpr int kSquareWords = 2 * kAttentionTile * kTileStep;
// A lane's share of its warp's 16 × 64 scores.
using Scores = float[1][8][4];

// Numbers (N, H, D) as H matrices (N, D), one a head, that products take as operands.
struct HeadMatrices {
  void* data;               // float32 or bfloat16
  int64_t step, head_step;  // from row to row, from head to head
  bool vectors;             // four numbers of a head are one access
  bool bf16;

  HF_DEVICE int64_t place(int64_t row, int64_t head) const { return row * step + head * head_step; }
  // One head's rows from `row` on, D numbers each.
  HF_DEVICE Rows rows(int64_t row, int64_t head) const {
    return {static_cast<char*>(data) + place(row, head) * (bf16 ? 2 : 4), step, vectors, bf16};
  }
};
inline HeadMatrices head_matrices_of(const View& v) {
  const bool begins_aligned = reinterpret_cast<uintptr_t>(v.data) % (4 * dtype_bytes(v.dtype)) == 0;
  return {
      .data = v.data,
      .step = v.stride[0],
      .head_step = v.stride[1],
      .vectors = begins_aligned && v.stride[0] % 4 == 0 && v.stride[1] % 4 == 0,
      .bf16 = v.dtype == DType::kBF16,
  };
}

// One block of rows: its sequence's first row and end, and where the block begins.
struct RowTile {
  int32_t first, end, row0;
};

// What the kernels of a pass are given; each pass fills in what it needs.
struct Problem {
  HeadMatrices q, k, v, y, d_y, t_q, t_k, t_v;
  HeadMatrices out;       // y, d_q or t_y
  HeadMatrices d_k, d_v;  // of the backward pass
  const float* lse;       // (N, H) log Σ exp of every row's scores
  float* lse_out;
  int64_t lse_step;
  const float* mean;  // (N, H) ⟨d_y, y⟩
  const RowTile* tiles;
  int64_t heads;   // of queries
  int64_t groups;  // heads of keys and values
  int64_t dims;    // D
  int64_t chunks;  // of 64 columns that D takes
  float scale;
};

// Rows `first` … of head h. Only bf16 math meets bfloat16 in memory. The compiler is told so, because the
// other maths have no registers to spare.
template <Math math>
HF_DEVICE Rows rows_of_head(const HeadMatrices& x, int64_t first, int64_t h) {
  if (math == Math::kBf16) return x.rows(first, h);
  return {static_cast<float*>(x.data) + x.place(first, h), x.step, x.vectors, false};
}
template <Math math>
HF_DEVICE Operand head_rows(const HeadMatrices& x, int64_t first, int64_t h) {
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

// Writes the warp's 16 × 64 numbers as rows of an operand of depth 64 (kHalves tiles), for its own use after
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

// Loads columns d0 … d0 + 63 of rows j0 … j0 + 63 of `o`, turned: an operand of 64 rows and depth 64.
// Asynchronous where load_tile is.
template <Math math>
HF_DEVICE void load_turned(Shared<uint32_t> square, const Operand& o, int64_t j0, int64_t j_end, int64_t d0,
                           int64_t d_end) {
  for (int half = 0; half < kHalves<math>; ++half)
    load_tile<math, kAttentionTile, AttentionShape::kThreads>(square + half * kAttentionTile * kTileStep,
                                                              transposed(o), d0, d_end,
                                                              j0 + half * kTileDepth<math>, j_end);
}

// acc += square · turnedᵀ, for the warp's own 16 rows.
template <Math math>
HF_DEVICE void square_product(Scores& acc, Shared<uint32_t> square, Shared<uint32_t> turned) {
  for (int half = 0; half < kHalves<math>; ++half)
    warp_product<math>(acc, square + (half * kAttentionTile + AttentionShape::warp_row()) * kTileStep,
                       turned + half * kAttentionTile * kTileStep, kTileStep, kTileStep, kTileWords);
}

// The largest, and the sum, over the four lanes that share a row.
HF_DEVICE float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
HF_DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

constexpr int kForwardShared = AttentionShape::kSharedBytes + 2 * kSquareWords * 4;

// A block of queries of one sequence and head against its keys and values. Everything begins at the
// sequence's first row; row r sees keys 0 … r.
struct AttentionTile {
  Operand q, k, v;
  int64_t row0, rows, dims;
  float scale;
  Rows y;
  float* lse;  // may be null
  int64_t lse_step;
};

// What a lane keeps of its two rows (g and g + 8 of the warp's 16) from tile to tile.
struct OnlineSoftmax {
  float most[2] = {-INFINITY, -INFINITY};  // the largest score so far
  float total[2] = {0, 0};                 // Σ e^(score − most)
};

// Turns the scores s of the tile at j0 into e^(score − most), and shrinks `out` to the new most.
HF_DEVICE void weigh_scores(OnlineSoftmax& softmax, Scores& s, Scores& out, const AttentionTile& p,
                            int64_t first, int64_t j0, int64_t keys) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + g + 8 * half, limit = row + 1 < keys ? row + 1 : keys;
    float best = softmax.most[half];
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float& x = s[0][j][2 * half + r];
        x = row < p.rows && j0 + 8 * j + 2 * t + r < limit ? p.scale * x : -INFINITY;
        best = fmaxf(best, x);
      }
    best = quad_max(best);
    const float shrink = softmax.most[half] == -INFINITY ? 0.0f : expf(softmax.most[half] - best);
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
    softmax.total[half] = softmax.total[half] * shrink + quad_sum(sum);
    softmax.most[half] = best;
  }
}

// Writes out / total, and log Σ exp where it is wanted.
HF_DEVICE void write_attention(const OnlineSoftmax& softmax, const Scores& out, const AttentionTile& p,
                               int64_t first, int64_t d0, bool write_lse) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + g + 8 * half;
    if (row >= p.rows) continue;
    const float inverse = 1.0f / softmax.total[half];
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t d = d0 + 8 * j + 2 * t + r;
        if (d < p.dims) p.y.put(row, d, out[0][j][2 * half + r] * inverse);
      }
    if (p.lse && write_lse && t == 0)
      p.lse[row * p.lse_step] = softmax.most[half] + logf(softmax.total[half]);
  }
}

// The forward pass of a block: online softmax over tiles of 64 keys (Dao et al. 2022). The sums of a row run
// in the same order whichever rows are beside it.
template <Math math>
HF_DEVICE void attend(const AttentionTile& p, int64_t d0, bool write_lse) {
  SharedMemory memory;
  const Shared<uint32_t> stages =
      memory.take<uint32_t>(AttentionShape::kStages * AttentionShape::kStageWords);
  const Shared<uint32_t> square = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned = memory.take<uint32_t>(kSquareWords);
  const int64_t first = p.row0 + AttentionShape::warp_row();  // of the warp
  const bool active = first < p.rows;
  OnlineSoftmax softmax;
  Scores out;
  clear(out);
  const int64_t keys = p.row0 + kAttentionTile < p.rows ? p.row0 + kAttentionTile : p.rows;
  for (int64_t j0 = 0; j0 < keys; j0 += kAttentionTile) {
    load_turned<math>(turned, p.v, j0, keys, d0, p.dims);  // arrives while the scores are computed
    cp_async_commit();
    Scores s;
    clear(s);
    block_product<math, AttentionShape>(s, stages, p.q, p.row0, p.rows, p.k, j0, keys, 0, p.dims, active);
    if (active) {
      weigh_scores(softmax, s, out, p, first, j0, keys);
      store_square<math>(square, s);
      __syncwarp();
      square_product<math>(out, square, turned);
    }
    __syncthreads();  // `turned` is free
  }
  if (active) write_attention(softmax, out, p, first, d0, write_lse);
}

}  // namespace hf::cuda
