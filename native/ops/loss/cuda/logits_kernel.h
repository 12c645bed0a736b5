// The classifier's logits of a chunk of rows by tiles of the vocabulary, with every row's statistics over the
// tile from the accumulators: z need not be written to be summed.
#pragma once

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"
#include "ops/loss/cuda/softmax_stats.h"

namespace hf::cuda {

struct Logits {
  Operand hidden, weight;
  int64_t rows, vocabulary, depth;
  const float* bias;  // (V) or null
  int64_t bias_step;
  float temperature;
  const int32_t* targets;  // (rows)
  int64_t target_step;
  float* z;  // (rows, z_step) or null
  int64_t z_step;
  float* target_z;  // (rows)
  Stats* stats;     // (rows, tiles)
  int64_t tiles;
};

// One row's part of a block's tile: (h Wᵀ + bias) / τ in place of the products `x`, written where they are
// wanted, and their statistics. `column` is the id of the first of 8·j + r; ids that are not there become −∞.
template <int kNT>
HF_DEVICE Stats finish_logits(const Logits& p, int64_t n, int64_t column, float (&acc)[kNT][4], int half) {
  const int64_t target = n < p.rows ? p.targets[n * p.target_step] : -1;
  Stats s = nothing();
#pragma unroll
  for (int j = 0; j < kNT; ++j)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int64_t v = column + 8 * j + r;
      float& x = acc[j][2 * half + r];
      if (n >= p.rows || v >= p.vocabulary) {
        x = -INFINITY;
        continue;
      }
      x = (p.bias ? x + p.bias[v * p.bias_step] : x) / p.temperature;
      if (p.z) p.z[n * p.z_step + v] = x;
      if (v == target) p.target_z[n] = x;
      if (x > s.most || s.argmax == INT32_MAX) {
        s.most = x;
        s.argmax = int32_t(v);
      }
    }
#pragma unroll
  for (int j = 0; j < kNT; ++j)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float x = acc[j][2 * half + r];
      if (x == -INFINITY) continue;
      const float e = expf(x - s.most);
      s.sum += e;
      s.moment += e * (x - s.most);
    }
  return s;
}

// A block owns a tile of Shape::kRows × Shape::kColumns. Its warps lie in a grid: each row's statistics are
// merged among the four lanes that have a part of it, then through shared memory among the warps beside each
// other.
template <Math math, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) logits_kernel(Logits p) {
  const int64_t row0 = int64_t(blockIdx.x) * Shape::kRows, column0 = int64_t(blockIdx.y) * Shape::kColumns;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  // The statistics (row, warp column) lie where the operands were.
  constexpr int kParts = Shape::kRows * Shape::kWarpColumns;
  const Shared<float> most = cast<float>(stages), sums = most + kParts, moments = sums + kParts;
  const Shared<int32_t> argmaxes = cast<int32_t>(moments + kParts);
  float acc[Shape::kMT][Shape::kNT][4];
  clear(acc);
  block_product<math, Shape>(acc, stages, p.hidden, row0, p.rows, p.weight, column0, p.vocabulary, 0,
                             p.depth);

  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp_column = int(threadIdx.x) / kWarp % Shape::kWarpColumns;
  const int64_t first_id = column0 + Shape::warp_column() + 2 * t;
#pragma unroll
  for (int i = 0; i < Shape::kMT; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = Shape::warp_row() + 16 * i + g + 8 * half;
      Stats s = finish_logits(p, row0 + row, first_id, acc[i], half);
      s = merge(s, shuffle_stats(s, 1));
      s = merge(s, shuffle_stats(s, 2));
      if (t == 0) {
        const int at = row * Shape::kWarpColumns + warp_column;
        most[at] = s.most;
        sums[at] = s.sum;
        moments[at] = s.moment;
        argmaxes[at] = s.argmax;
      }
    }
  __syncthreads();
  for (int row = threadIdx.x; row < Shape::kRows; row += Shape::kThreads) {
    if (row0 + row >= p.rows) continue;
    Stats s = nothing();
    for (int w = 0; w < Shape::kWarpColumns; ++w) {
      const int at = row * Shape::kWarpColumns + w;
      s = merge(s, Stats{most[at], sums[at], moments[at], argmaxes[at]});
    }
    p.stats[(row0 + row) * p.tiles + blockIdx.y] = s;
  }
}

}  // namespace hf::cuda
