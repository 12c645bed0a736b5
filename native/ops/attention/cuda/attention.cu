// Causal attention over packed sequences, for any width and math mode. (bf16 up to D 128 has kernels of its
// own, flash_attention.cu.) A block owns 64 rows of one sequence and head and 64 of the D output columns, a
// warp 16 of the rows (attention_tile.h). Shared memory: 54 KiB of stages, and 36 KiB for the two 64 × 64
// operands (72 KiB for the four that d_kv and jvp have). Compute bound: a tile of 64 keys brings 8·64·D bytes
// for 4·64²·D operations, 32 a byte, and K and V of one head stay in L2. The backward pass is one kernel for
// d_q (a block for 64 queries), and one for d_k and d_v (a block for 64 keys, over the query heads that share
// them), so that it needs no atomics.
#include <vector>

#include "backends/cuda/rows.h"
#include "ops/attention/cuda/attention_tile.h"
#include "ops/attention/cuda/flash_attention.h"

namespace hf::cuda {
namespace {

// Shared memory of the kernels with two products after the scores, whose operands are two squares each.
constexpr int kTwoSquares = AttentionShape::kSharedBytes + 4 * kSquareWords * 4;

HF_DEVICE RowTile tile_of(const Problem& p) {
  return p.tiles[blockIdx.x];
}
HF_DEVICE int64_t head_of_block(const Problem& p) {
  return int64_t(blockIdx.y) / p.chunks;
}
HF_DEVICE int64_t column_of_block(const Problem& p) {
  return int64_t(blockIdx.y) % p.chunks * kAttentionTile;
}

template <Math math>
__global__ void __launch_bounds__(AttentionShape::kThreads, 1) forward_kernel(Problem p) {
  const RowTile tile = tile_of(p);
  const int64_t h = head_of_block(p), g = h / (p.heads / p.groups);
  AttentionTile a;
  a.q = head_rows<math>(p.q, tile.first, h);
  a.k = head_rows<math>(p.k, tile.first, g);
  a.v = head_rows<math>(p.v, tile.first, g);
  a.row0 = tile.row0 - tile.first;
  a.rows = tile.end - tile.first;
  a.dims = p.dims;
  a.scale = p.scale;
  a.y = rows_of_head<math>(p.out, tile.first, h);
  a.lse = p.lse_out ? p.lse_out + tile.first * p.lse_step + h : nullptr;
  a.lse_step = p.lse_step;
  attend<math>(a, column_of_block(p), column_of_block(p) == 0);
}

// mean[n, h] = ⟨d_y, y⟩. A thread owns a row and head. It sums in the order in which block_product sums ⟨d_y,
// v⟩: where one key has all the probability, y is v, and the difference of the two sums must be 0, not what
// rounding leaves. No shared memory. Memory bound: a thread takes 32 bytes of each at a time, whole sectors
// of memory.
HF_KERNEL __launch_bounds__(kThreads)
    mean_kernel(HeadMatrices y, HeadMatrices d_y, float* mean, int64_t count, int64_t heads, int64_t dims) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t n = i / heads, h = i % heads;
  const Rows a = y.rows(n, h), b = d_y.rows(n, h);
  float sum = 0;
  for (int64_t d = 0; d < dims; d += 8) {
    Four x[2], z[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      x[e] = a.load(0, d + 4 * e, dims);
      z[e] = b.load(0, d + 4 * e, dims);
    }
#pragma unroll
    for (int e = 0; e < 8; ++e)
      sum = fmaf(x[e / 4].v[e % 4], z[e / 4].v[e % 4], sum);
  }
  mean[i] = sum;
}

// Writes the warp's 16 rows of a 64-column output.
HF_DEVICE void write_rows(const Scores& x, const Rows& out, int64_t row0, int64_t rows, int64_t d0,
                          int64_t dims) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int64_t row = row0 + AttentionShape::warp_row() + g + 8 * (r / 2), d = d0 + 8 * j + 2 * t + r % 2;
      if (row < rows && d < dims) out.put(row, d, x[0][j][r]);
    }
}

// body(row, column, j, r) for every entry [0][j][r] that the calling lane holds of a square of scores.
template <class Body>
HF_DEVICE void each_score(const Body& body) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int r = 0; r < 4; ++r)
      body(AttentionShape::warp_row() + g + 8 * (r / 2), 8 * j + 2 * t + r % 2, j, r);
}

// d_q = Σ_j dS k,  dS = scale P ∘ (d_y vᵀ − mean). A block owns 64 queries.
template <Math math>
__global__ void __launch_bounds__(AttentionShape::kThreads, 1) d_q_kernel(Problem p) {
  SharedMemory memory;
  const Shared<uint32_t> stages =
      memory.take<uint32_t>(AttentionShape::kStages * AttentionShape::kStageWords);
  const Shared<uint32_t> square = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned = memory.take<uint32_t>(kSquareWords);
  const RowTile tile = tile_of(p);
  const int64_t h = head_of_block(p), g = h / (p.heads / p.groups), d0 = column_of_block(p);
  const int64_t row0 = tile.row0 - tile.first, rows = tile.end - tile.first;
  const Operand q = head_rows<math>(p.q, tile.first, h);
  const Operand k = head_rows<math>(p.k, tile.first, g);
  const Operand v = head_rows<math>(p.v, tile.first, g);
  const Operand d_y = head_rows<math>(p.d_y, tile.first, h);
  const int64_t keys = row0 + kAttentionTile < rows ? row0 + kAttentionTile : rows;
  Scores out;
  clear(out);
  for (int64_t j0 = 0; j0 < keys; j0 += kAttentionTile) {
    load_turned<math>(turned, k, j0, keys, d0, p.dims);
    cp_async_commit();
    Scores s, d_p;
    clear(s);
    clear(d_p);
    block_product<math, AttentionShape>(s, stages, q, row0, rows, k, j0, keys, 0, p.dims);
    block_product<math, AttentionShape>(d_p, stages, d_y, row0, rows, v, j0, keys, 0, p.dims);
    each_score([&](int r, int c, int j, int i) {
      const int64_t row = row0 + r, n = tile.first + row;
      float value = 0;
      if (row < rows && j0 + c <= row)
        value = p.scale * expf(p.scale * s[0][j][i] - p.lse[n * p.lse_step + h]) *
                (d_p[0][j][i] - p.mean[n * p.heads + h]);
      s[0][j][i] = value;
    });
    store_square<math>(square, s);
    __syncwarp();
    square_product<math>(out, square, turned);
    __syncthreads();
  }
  write_rows(out, rows_of_head<math>(p.out, tile.first, h), row0, rows, d0, p.dims);
}

// d_k = Σ_i dSᵀ q,  d_v = Σ_i Pᵀ d_y. A block owns 64 keys: rows are keys here, columns queries.
template <Math math>
__global__ void __launch_bounds__(AttentionShape::kThreads, 1) d_kv_kernel(Problem p) {
  SharedMemory memory;
  const Shared<uint32_t> stages =
      memory.take<uint32_t>(AttentionShape::kStages * AttentionShape::kStageWords);
  const Shared<uint32_t> square = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> square2 = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned2 = memory.take<uint32_t>(kSquareWords);
  const RowTile tile = tile_of(p);
  const int64_t g = head_of_block(p), d0 = column_of_block(p), per_group = p.heads / p.groups;
  const int64_t row0 = tile.row0 - tile.first, rows = tile.end - tile.first;
  const Operand k = head_rows<math>(p.k, tile.first, g), v = head_rows<math>(p.v, tile.first, g);
  Scores d_k, d_v;
  clear(d_k);
  clear(d_v);
  for (int64_t h = g * per_group; h < (g + 1) * per_group; ++h) {
    const Operand q = head_rows<math>(p.q, tile.first, h), d_y = head_rows<math>(p.d_y, tile.first, h);
    for (int64_t i0 = row0; i0 < rows; i0 += kAttentionTile) {
      load_turned<math>(turned, q, i0, rows, d0, p.dims);
      load_turned<math>(turned2, d_y, i0, rows, d0, p.dims);
      cp_async_commit();
      Scores s, d_p;
      clear(s);
      clear(d_p);
      block_product<math, AttentionShape>(s, stages, k, row0, rows, q, i0, rows, 0, p.dims);
      block_product<math, AttentionShape>(d_p, stages, v, row0, rows, d_y, i0, rows, 0, p.dims);
      each_score([&](int r, int c, int j, int i) {
        const int64_t key = row0 + r, query = i0 + c, n = tile.first + query;
        float probability = 0, slope = 0;
        if (query < rows && key <= query) {
          probability = expf(p.scale * s[0][j][i] - p.lse[n * p.lse_step + h]);
          slope = p.scale * probability * (d_p[0][j][i] - p.mean[n * p.heads + h]);
        }
        s[0][j][i] = probability;
        d_p[0][j][i] = slope;
      });
      store_square<math>(square, d_p);
      store_square<math>(square2, s);
      __syncwarp();
      square_product<math>(d_k, square, turned);
      square_product<math>(d_v, square2, turned2);
      __syncthreads();
    }
  }
  write_rows(d_k, rows_of_head<math>(p.d_k, tile.first, g), row0, rows, d0, p.dims);
  write_rows(d_v, rows_of_head<math>(p.d_v, tile.first, g), row0, rows, d0, p.dims);
}

// t_y = Σ_j P ((t_s − Σ P t_s) v + t_v),  t_s = scale (⟨t_q, k⟩ + ⟨q, t_k⟩). The mean Σ P t_s needs a pass of its
// own, because P t_s v − mean y would cancel.
template <Math math>
__global__ void __launch_bounds__(AttentionShape::kThreads, 1) jvp_kernel(Problem p) {
  SharedMemory memory;
  const Shared<uint32_t> stages =
      memory.take<uint32_t>(AttentionShape::kStages * AttentionShape::kStageWords);
  const Shared<uint32_t> square = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> square2 = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned = memory.take<uint32_t>(kSquareWords);
  const Shared<uint32_t> turned2 = memory.take<uint32_t>(kSquareWords);
  const RowTile tile = tile_of(p);
  const int64_t h = head_of_block(p), g = h / (p.heads / p.groups), d0 = column_of_block(p);
  const int64_t row0 = tile.row0 - tile.first, rows = tile.end - tile.first;
  const Operand q = head_rows<math>(p.q, tile.first, h);
  const Operand k = head_rows<math>(p.k, tile.first, g);
  const Operand v = head_rows<math>(p.v, tile.first, g);
  const Operand t_q = head_rows<math>(p.t_q, tile.first, h);
  const Operand t_k = head_rows<math>(p.t_k, tile.first, g);
  const Operand t_v = head_rows<math>(p.t_v, tile.first, g);
  const int64_t keys = row0 + kAttentionTile < rows ? row0 + kAttentionTile : rows;
  float mean[2] = {0, 0};
  Scores out;
  clear(out);
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t j0 = 0; j0 < keys; j0 += kAttentionTile) {
      if (pass) {
        load_turned<math>(turned, v, j0, keys, d0, p.dims);
        load_turned<math>(turned2, t_v, j0, keys, d0, p.dims);
        cp_async_commit();
      }
      Scores s, t_s;
      clear(s);
      clear(t_s);
      block_product<math, AttentionShape>(s, stages, q, row0, rows, k, j0, keys, 0, p.dims);
      block_product<math, AttentionShape>(t_s, stages, t_q, row0, rows, k, j0, keys, 0, p.dims);
      block_product<math, AttentionShape>(t_s, stages, q, row0, rows, t_k, j0, keys, 0, p.dims);
      float part[2] = {0, 0};
      each_score([&](int r, int c, int j, int i) {
        const int64_t row = row0 + r;
        float probability = 0;
        if (row < rows && j0 + c <= row)
          probability = expf(p.scale * s[0][j][i] - p.lse[(tile.first + row) * p.lse_step + h]);
        s[0][j][i] = probability;
        t_s[0][j][i] = probability * (p.scale * t_s[0][j][i] - (pass ? mean[i / 2] : 0.0f));
        part[i / 2] += t_s[0][j][i];
      });
      if (pass == 0) {
        mean[0] += quad_sum(part[0]);
        mean[1] += quad_sum(part[1]);
        continue;
      }
      store_square<math>(square, t_s);
      store_square<math>(square2, s);
      __syncwarp();
      square_product<math>(out, square, turned);
      square_product<math>(out, square2, turned2);
      __syncthreads();
    }
  }
  write_rows(out, rows_of_head<math>(p.out, tile.first, h), row0, rows, d0, p.dims);
}

// The blocks of rows of every sequence.
std::vector<RowTile> tiles_of(const View& offsets) {
  std::vector<RowTile> tiles;
  const int32_t* o = offsets.as<const int32_t>();
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s)
    for (int32_t row = o[s]; row < o[s + 1]; row += kAttentionTile)
      tiles.push_back({o[s], o[s + 1], row});
  return tiles;
}

template <class Args>
Problem problem_of(const Args& a) {
  Problem p{};
  p.q = head_matrices_of(a.q);
  p.k = head_matrices_of(a.k);
  p.v = head_matrices_of(a.v);
  p.lse = a.lse.template as<const float>();
  p.lse_step = a.lse ? a.lse.stride[0] : 0;
  p.heads = a.q.shape[1];
  p.groups = a.k.shape[1];
  p.dims = a.q.shape[2];
  p.chunks = blocks(p.dims, kAttentionTile);
  p.scale = float(a.scale);
  return p;
}
dim3 grid_of(const std::vector<RowTile>& tiles, int64_t heads, const Problem& p) {
  return dim3(unsigned(tiles.size()), unsigned(heads * p.chunks));
}
const RowTile* tiles_on_device(const std::vector<RowTile>& tiles, Run& r) {
  return device_copy(r, tiles.data(), int64_t(tiles.size()));
}

bool takes_flash(const Run& r, const Problem& p) {
  return r.math == Math::kBf16 && p.dims <= kFlashDims;
}

}  // namespace

void run(const AttentionArgs& args, Run& r) {
  on_device(args, r, [&](const AttentionArgs& a, Stream& stream) {
    Problem p = problem_of(a);
    const std::vector<RowTile> tiles = tiles_of(args.offsets);
    p.tiles = tiles_on_device(tiles, r);
    p.out = head_matrices_of(a.y);
    p.lse_out = a.lse.as<float>();
    if (takes_flash(r, p)) return flash_forward(p, a.q.shape[0], int64_t(tiles.size()), r);
    with_math(r.math, [&](auto tag) {
      launch("attention", forward_kernel<tag.math>, grid_of(tiles, p.heads, p), AttentionShape::kThreads,
             kForwardShared, stream, p);
    });
  });
}

void run(const AttentionBackwardArgs& args, Run& r) {
  on_device(args, r, [&](const AttentionBackwardArgs& a, Stream& stream) {
    Problem p = problem_of(a);
    const std::vector<RowTile> tiles = tiles_of(args.offsets);
    p.tiles = tiles_on_device(tiles, r);
    p.y = head_matrices_of(a.y);
    p.d_y = head_matrices_of(a.d_y);
    p.out = head_matrices_of(a.d_q);
    p.d_k = head_matrices_of(a.d_k);
    p.d_v = head_matrices_of(a.d_v);
    if (takes_flash(r, p)) return flash_backward(p, a.q.shape[0], int64_t(tiles.size()), r);
    const int64_t count = a.q.shape[0] * p.heads;
    float* mean = device_scratch<float>(r, count);
    p.mean = mean;
    launch("attention_backward", mean_kernel, dim3(blocks(count, kThreads)), kThreads, 0, stream, p.y, p.d_y,
           mean, count, p.heads, p.dims);
    with_math(r.math, [&](auto tag) {
      launch("attention_backward", d_q_kernel<tag.math>, grid_of(tiles, p.heads, p), AttentionShape::kThreads,
             kForwardShared, stream, p);
      launch("attention_backward", d_kv_kernel<tag.math>, grid_of(tiles, p.groups, p),
             AttentionShape::kThreads, kTwoSquares, stream, p);
    });
  });
}

void run(const AttentionJvpArgs& args, Run& r) {
  on_device(args, r, [&](const AttentionJvpArgs& a, Stream& stream) {
    Problem p = problem_of(a);
    const std::vector<RowTile> tiles = tiles_of(args.offsets);
    p.tiles = tiles_on_device(tiles, r);
    p.t_q = head_matrices_of(a.t_q);
    p.t_k = head_matrices_of(a.t_k);
    p.t_v = head_matrices_of(a.t_v);
    p.out = head_matrices_of(a.t_y);
    with_math(r.math, [&](auto tag) {
      launch("attention_jvp", jvp_kernel<tag.math>, grid_of(tiles, p.heads, p), AttentionShape::kThreads,
             kTwoSquares, stream, p);
    });
  });
}

}  // namespace hf::cuda
