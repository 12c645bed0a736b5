// Tiles of Gram matrices (gram.h). A block owns 64 × 64 pairs of rows: 4 warps of 32 × 32, two accumulators
// of 32 numbers a thread. Shared memory: 54 KiB of stages, which the sums then reuse (64 × 66 words of
// products, 64 × 64 float64 of their sums by column fragment). Compute bound: a tile reads 2 · 64 · (I + O)
// numbers, mostly from L2, for 64² (I + O) multiply-adds: 16 a byte.
#include <algorithm>
#include <vector>

#include "ops/gram/cuda/gram.h"
#include "ops/gram/cuda/wide_gram.h"
#include "ops/gram/gram_blocks.h"

namespace hf::cuda {
namespace {

using Shape = SmallBlock;
constexpr int kTile = Shape::kRows;
constexpr int64_t kLeastDepth = 128;  // of a block, where pairs of tiles are few
constexpr int kProductStep =
    kTile + 2;  // words between rows of products: an even number, and 2-way conflicts at worst

struct Tiles {
  Operand d1, a1, d2, a2;
  int64_t rows1, rows2, depth, a_depth, chunk;  // chunk: depths of one z of the grid (kOne)
  const int32_t *ids1, *ids2;
  const float* g;
  int64_t g_step, g_columns, first_id;
  float bias;
  bool symmetric;
  Cut cut1, cut2;
  double* sums;  // (z, F1, F2)
};

template <Math math, Factor factor>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) gram_tile_kernel(Tiles p) {
  const int ti = blockIdx.y, tj = blockIdx.x;
  if (p.symmetric && tj < ti) return;
  const int64_t row0 = int64_t(ti) * kTile, column0 = int64_t(tj) * kTile;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  const Shared<uint32_t> products = stages;
  const Shared<double> sums = cast<double>(stages + kTile * kProductStep);
  const int p0 = p.cut1.tile_first[ti], np = p.cut1.tile_first[ti + 1] - p0, q0 = p.cut2.tile_first[tj],
            nq = p.cut2.tile_first[tj + 1] - q0;
  double* out = p.sums + int64_t(blockIdx.z) * p.cut1.count * p.cut2.count;

  if constexpr (factor == Factor::kSameId) {
    bool shared_id = false;
    for (int i = threadIdx.x; i < kTile * kTile; i += Shape::kThreads) {
      const int64_t n = row0 + i / kTile, m = column0 + i % kTile;
      shared_id = shared_id || (n < p.rows1 && m < p.rows2 && p.ids1[n] == p.ids2[m]);
    }
    if (!__syncthreads_or(shared_id)) {
      for (int i = threadIdx.x; i < np * nq; i += Shape::kThreads)
        out[int64_t(p0 + i / nq) * p.cut2.count + q0 + i % nq] = 0;
      return;
    }
  }
  float factors[Shape::kMT][Shape::kNT][4], acc[Shape::kMT][Shape::kNT][4];
  if constexpr (factor == Factor::kProduct) {
    clear(factors);
    block_product<math, Shape>(factors, stages, p.a1, row0, p.rows1, p.a2, column0, p.rows2, 0, p.a_depth);
  }
  // At most kGramDepth numbers of a plain inner product are added in float32.
  const int64_t begin = int64_t(blockIdx.z) * p.chunk,
                end = begin + p.chunk < p.depth ? begin + p.chunk : p.depth;
  const int64_t step = factor == Factor::kOne && p.chunk > kGramDepth ? kGramDepth : p.chunk;
  for (int64_t k = begin; k == begin || k < end; k += step) {
    clear(acc);
    block_product<math, Shape>(acc, stages, p.d1, row0, p.rows1, p.d2, column0, p.rows2, k,
                               k + step < end ? k + step : end);
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < Shape::kMT; ++i)
#pragma unroll
      for (int j = 0; j < Shape::kNT; ++j)
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int row = Shape::warp_row() + 16 * i + g + 8 * (r / 2),
                    column = Shape::warp_column() + 8 * j + 2 * t + r % 2;
          const int64_t n = row0 + row, m = column0 + column;
          float value = acc[i][j][r];
          if constexpr (factor == Factor::kProduct) value *= factors[i][j][r] + p.bias;
          if constexpr (factor == Factor::kSameId)
            value = n < p.rows1 && m < p.rows2 && p.ids1[n] == p.ids2[m] ? value : 0.0f;
          if constexpr (factor == Factor::kGather) {
            const int64_t id = m < p.rows2 ? p.ids2[m] - p.first_id : -1;
            value = n < p.rows1 && id >= 0 && id < p.g_columns ? value * p.g[n * p.g_step + id] : 0.0f;
          }
          products[row * kProductStep + column] = __float_as_uint(value);
        }
    __syncthreads();
    for (int i = threadIdx.x; i < kTile * nq; i += Shape::kThreads) {
      const int row = i / nq, q = q0 + i % nq;
      const int first = int(p.cut2.begin[q] - column0), last = int(p.cut2.begin[q + 1] - column0);
      double sum = 0;
      for (int c = first; c < last; ++c)
        sum += double(__uint_as_float(products[row * kProductStep + c]));
      sums[i] = sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < np * nq; i += Shape::kThreads) {
      const int fragment = p0 + i / nq;
      const int first = int(p.cut1.begin[fragment] - row0), last = int(p.cut1.begin[fragment + 1] - row0);
      double sum = 0;
      for (int r = first; r < last; ++r)
        sum += static_cast<double>(sums[r * nq + i % nq]);
      double* target = out + int64_t(fragment) * p.cut2.count + q0 + i % nq;
      *target = k == begin ? sum : *target + sum;
    }
    __syncthreads();
  }
}

// One thread per entry of K (one half of a symmetric one).
HF_KERNEL __launch_bounds__(256)
    add_fragments_kernel(const double* sums, int chunks, Cut cut1, Cut cut2, double* gram, int64_t row_step,
                         int64_t column_step, bool symmetric, bool symmetrize, bool accumulate) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  const int64_t s = i / cut2.functions, u = i % cut2.functions;
  if (s >= cut1.functions || (symmetric && u < s)) return;
  const auto entry = [&](int64_t row, int64_t column) {
    double sum = 0;
    for (int z = 0; z < chunks; ++z)
      for (int32_t p = cut1.function_first[row]; p < cut1.function_first[row + 1]; ++p)
        for (int32_t q = cut2.function_first[column]; q < cut2.function_first[column + 1]; ++q) {
          // Of a symmetric matrix only pairs of tiles (i, j ≥ i) exist.
          const bool swapped = symmetric && cut1.begin[p] / kTile > cut2.begin[q] / kTile;
          sum += sums[(int64_t(z) * cut1.count + (swapped ? q : p)) * cut2.count + (swapped ? p : q)];
        }
    return sum;
  };
  double value = entry(s, u);
  if (symmetrize) value += entry(u, s);
  double* target = gram + s * row_step + u * column_step;
  const double total = accumulate ? *target + value : value;
  *target = total;
  if (symmetric && u != s) gram[u * row_step + s * column_step] = total;
}

template <Math math>
void start(const GramProblem& problem, const Tiles& tiles, unsigned chunks, Stream& stream) {
  const dim3 grid(unsigned(tiles.cut2.tiles), unsigned(tiles.cut1.tiles), chunks);
  const auto go = [&](const char* name, void (*kernel)(Tiles)) {
    launch(name, kernel, grid, Shape::kThreads, Shape::kSharedBytes, stream, tiles);
  };
  switch (problem.factor) {
    case Factor::kOne: return go("gram of rows", gram_tile_kernel<math, Factor::kOne>);
    case Factor::kProduct: return go("token_gram", gram_tile_kernel<math, Factor::kProduct>);
    case Factor::kSameId: return go("embedding_gram", gram_tile_kernel<math, Factor::kSameId>);
    case Factor::kGather: return go("tied_gram", gram_tile_kernel<math, Factor::kGather>);
  }
}

// What cut() says, on the host.
struct Fragments {
  std::vector<int32_t> begin, tile_first, function_first;

  Fragments(const GramSide& side, int tile) {
    const int32_t* offsets = side.offsets.as<const int32_t>();
    const int64_t S = side.offsets.shape[0] - 1;
    for (int64_t s = 0; s < S; ++s) {
      function_first.push_back(int32_t(begin.size()));
      for (int32_t row = offsets[s]; row < offsets[s + 1];) {
        if (row % tile == 0) tile_first.push_back(int32_t(begin.size()));
        begin.push_back(row);
        const int32_t tile_end = (row / tile + 1) * tile;
        row = tile_end < offsets[s + 1] ? tile_end : offsets[s + 1];
      }
    }
  }
};

}  // namespace

Cut cut(const GramSide& side, int tile, Run& run) {
  Fragments f(side, tile);
  const int32_t count = int32_t(f.begin.size()), tiles = int32_t(f.tile_first.size()),
                functions = int32_t(f.function_first.size());
  f.function_first.push_back(count), f.tile_first.push_back(count), f.begin.push_back(int32_t(side.rows));
  return {device_copy(run, f.begin.data(), count + 1),
          device_copy(run, f.tile_first.data(), tiles + 1),
          device_copy(run, f.function_first.data(), functions + 1),
          count,
          tiles,
          functions};
}

int most_fragments(const GramSide& side, int tile) {
  Fragments f(side, tile);
  f.tile_first.push_back(int32_t(f.begin.size()));
  int32_t most = 0;
  for (size_t i = 0; i + 1 < f.tile_first.size(); ++i)
    most = std::max(most, f.tile_first[i + 1] - f.tile_first[i]);
  return most;
}

void gram_tiles(const GramProblem& problem, Run& run) {
  if (wide_gram_fits(problem, run)) return wide_gram(problem, run);
  Stream& stream = stream_of(run);
  Tiles tiles{};
  const GramSide &first = problem.first, &second = problem.symmetric ? problem.first : problem.second;
  tiles.d1 = first.d, tiles.a1 = first.a, tiles.d2 = second.d, tiles.a2 = second.a;
  tiles.rows1 = first.rows, tiles.rows2 = second.rows, tiles.depth = problem.depth,
  tiles.a_depth = problem.a_depth;
  tiles.ids1 = first.ids, tiles.ids2 = second.ids;
  tiles.g = problem.g, tiles.g_step = problem.g_step, tiles.g_columns = problem.g_columns,
  tiles.first_id = problem.first_id;
  tiles.bias = problem.bias, tiles.symmetric = problem.symmetric;
  tiles.cut1 = cut(first, kTile, run);
  tiles.cut2 = problem.symmetric ? tiles.cut1 : cut(second, kTile, run);
  // Few tiles are cut along the depth as well, so that the chip has work: by shape alone, to about two blocks
  // a multiprocessor of an H200, in pieces of some steps of block_product (the sums of 64 functions' biases,
  // one pair of tiles, are one block's work otherwise).
  tiles.chunk = std::max<int64_t>(problem.depth, 1);
  if (problem.factor == Factor::kOne) {
    const int64_t pairs = int64_t{tiles.cut1.tiles} * tiles.cut2.tiles,
                  wanted = std::max<int64_t>(1, 264 / std::max<int64_t>(pairs, 1));
    const int64_t least = (tiles.chunk + wanted - 1) / wanted,
                  unit = least > kGramDepth ? kGramDepth : kLeastDepth;
    tiles.chunk = (least + unit - 1) / unit * unit;
  }
  const int64_t chunks = std::max<int64_t>(1, (problem.depth + tiles.chunk - 1) / tiles.chunk);
  tiles.sums = device_scratch<double>(run, chunks * tiles.cut1.count * tiles.cut2.count);
  with_math(run.math, [&](auto tag) { start<tag.math>(problem, tiles, unsigned(chunks), stream); });
  launch("gram", add_fragments_kernel,
         dim3(blocks(int64_t{tiles.cut1.functions} * tiles.cut2.functions, 256)), 256, 0, stream,
         static_cast<const double*>(tiles.sums), int(chunks), tiles.cut1, tiles.cut2,
         problem.gram.as<double>(), problem.gram.stride[0], problem.gram.stride[1], problem.symmetric,
         problem.symmetrize, problem.accumulate);
}

}  // namespace hf::cuda
