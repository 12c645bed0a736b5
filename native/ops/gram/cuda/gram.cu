// Tiles of Gram matrices (gram.h). A block owns 64 × 64 pairs of rows, each of its 4 warps 32 × 32 of them,
// with two accumulators of 32 numbers a thread. Shared memory: 54 KiB of stages, which the sums then reuse
// (64 × 66 words of products, and 64 × 64 float64 of their sums by column fragment). Compute bound: a tile
// reads 2 · 64 · (I + O) numbers, mostly from L2, for 64² (I + O) multiply-adds: 16 a byte.
#include "ops/gram/cuda/gram.h"

#include <algorithm>
#include <vector>

#include "ops/gram/cuda/wide_gram.h"
#include "ops/gram/gram_blocks.h"

namespace hf::cuda {
namespace {

using Shape = SmallBlock;
constexpr int kTile = Shape::kRows;
constexpr int64_t kLeastDepth = 128;  // of a block, where pairs of tiles are few
// Words between rows of products: an even number, and 2-way conflicts at worst.
constexpr int kProductStep = kTile + 2;
constexpr int kAddThreads = 256;

struct Tiles {
  Operand d1, a1, d2, a2;
  int64_t rows1, rows2, depth, a_depth;
  int64_t chunk;  // depths of one z of the grid (kOne)
  const int32_t *ids1, *ids2;
  const float* g;
  int64_t g_step, g_columns, first_id;
  float bias;
  bool symmetric;
  Cut cut1, cut2;
  double* sums;  // (z, F1, F2)
};

// A block's tile: its first row of each side, and the fragments that begin in it.
struct Pair {
  int64_t row0, column0;
  int p0, np;   // of rows: the first one, and how many
  int q0, nq;   // of columns
  double* out;  // sums of this z of the grid
};
HF_DEVICE Pair pair_of_block(const Tiles& p) {
  const int ti = blockIdx.y, tj = blockIdx.x;
  const int p0 = p.cut1.tile_first[ti];
  const int q0 = p.cut2.tile_first[tj];
  return {
      int64_t(ti) * kTile,
      int64_t(tj) * kTile,
      p0,
      p.cut1.tile_first[ti + 1] - p0,
      q0,
      p.cut2.tile_first[tj + 1] - q0,
      p.sums + int64_t(blockIdx.z) * p.cut1.count * p.cut2.count,
  };
}
HF_DEVICE int64_t sum_place(const Tiles& p, const Pair& at, int fragment, int column) {
  return int64_t(fragment) * p.cut2.count + at.q0 + column;
}

// Whether rows n and m have the same id (kSameId).
HF_DEVICE bool same_id(const Tiles& p, int64_t n, int64_t m) {
  return n < p.rows1 && m < p.rows2 && p.ids1[n] == p.ids2[m];
}
// Whether any two rows of the tile have; the same answer in every thread.
HF_DEVICE bool shares_id(const Tiles& p, const Pair& at) {
  bool shared_id = false;
  for (int i = threadIdx.x; i < kTile * kTile; i += Shape::kThreads) {
    const int64_t n = at.row0 + i / kTile, m = at.column0 + i % kTile;
    shared_id = shared_id || same_id(p, n, m);
  }
  return __syncthreads_or(shared_id);
}
HF_DEVICE void write_zeros(const Tiles& p, const Pair& at) {
  for (int i = threadIdx.x; i < at.np * at.nq; i += Shape::kThreads)
    at.out[sum_place(p, at, at.p0 + i / at.nq, i % at.nq)] = 0;
}

using Accumulators = float[Shape::kMT][Shape::kNT][4];

// Inner products times their factors, to shared memory.
template <Factor factor>
HF_DEVICE void store_products(const Tiles& p, const Pair& at, const Accumulators& acc,
                              const Accumulators& factors, Shared<uint32_t> products) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < Shape::kMT; ++i)
#pragma unroll
    for (int j = 0; j < Shape::kNT; ++j)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int row = Shape::warp_row() + 16 * i + g + 8 * (r / 2);
        const int column = Shape::warp_column() + 8 * j + 2 * t + r % 2;
        const int64_t n = at.row0 + row, m = at.column0 + column;
        float value = acc[i][j][r];
        if constexpr (factor == Factor::kProduct) value *= factors[i][j][r] + p.bias;
        if constexpr (factor == Factor::kSameId) value = same_id(p, n, m) ? value : 0.0f;
        if constexpr (factor == Factor::kGather) {
          const int64_t id = m < p.rows2 ? p.ids2[m] - p.first_id : -1;
          value = n < p.rows1 && id >= 0 && id < p.g_columns ? value * p.g[n * p.g_step + id] : 0.0f;
        }
        products[row * kProductStep + column] = __float_as_uint(value);
      }
}

// sums[row, q] = Σ of the row's products over column fragment q.
HF_DEVICE void sum_columns(const Tiles& p, const Pair& at, Shared<uint32_t> products, Shared<double> sums) {
  for (int i = threadIdx.x; i < kTile * at.nq; i += Shape::kThreads) {
    const int row = i / at.nq, q = at.q0 + i % at.nq;
    const int first = int(p.cut2.begin[q] - at.column0);
    const int last = int(p.cut2.begin[q + 1] - at.column0);
    double sum = 0;
    for (int c = first; c < last; ++c)
      sum += double(__uint_as_float(products[row * kProductStep + c]));
    sums[i] = sum;
  }
}

// Σ over row fragments, to scratch memory: the first time written, later added.
HF_DEVICE void sum_rows(const Tiles& p, const Pair& at, Shared<double> sums, bool first_time) {
  for (int i = threadIdx.x; i < at.np * at.nq; i += Shape::kThreads) {
    const int fragment = at.p0 + i / at.nq;
    const int first = int(p.cut1.begin[fragment] - at.row0);
    const int last = int(p.cut1.begin[fragment + 1] - at.row0);
    double sum = 0;
    for (int r = first; r < last; ++r)
      sum += static_cast<double>(sums[r * at.nq + i % at.nq]);
    double* target = at.out + sum_place(p, at, fragment, i % at.nq);
    *target = first_time ? sum : *target + sum;
  }
}

template <Math math, Factor factor>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) gram_tile_kernel(Tiles p) {
  if (p.symmetric && blockIdx.x < blockIdx.y) return;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  const Shared<uint32_t> products = stages;
  const Shared<double> sums = cast<double>(stages + kTile * kProductStep);
  const Pair at = pair_of_block(p);
  if constexpr (factor == Factor::kSameId) {
    if (!shares_id(p, at)) {
      write_zeros(p, at);
      return;
    }
  }
  Accumulators factors, acc;
  if constexpr (factor == Factor::kProduct) {
    clear(factors);
    block_product<math, Shape>(factors, stages, p.a1, at.row0, p.rows1, p.a2, at.column0, p.rows2, 0,
                               p.a_depth);
  }
  // At most kGramDepth numbers of a plain inner product are added in float32.
  const int64_t begin = int64_t(blockIdx.z) * p.chunk;
  const int64_t end = begin + p.chunk < p.depth ? begin + p.chunk : p.depth;
  const int64_t step = factor == Factor::kOne && p.chunk > kGramDepth ? kGramDepth : p.chunk;
  for (int64_t k = begin; k == begin || k < end; k += step) {
    clear(acc);
    block_product<math, Shape>(acc, stages, p.d1, at.row0, p.rows1, p.d2, at.column0, p.rows2, k,
                               k + step < end ? k + step : end);
    store_products<factor>(p, at, acc, factors, products);
    __syncthreads();
    sum_columns(p, at, products, sums);
    __syncthreads();
    sum_rows(p, at, sums, k == begin);
    __syncthreads();
  }
}

// Adds fragments up. A thread owns an entry of K (one half of a symmetric one). No shared memory. Memory
// bound: 8 bytes for each pair of fragments.
HF_KERNEL __launch_bounds__(kAddThreads)
    add_fragments_kernel(const double* sums, int chunks, Cut cut1, Cut cut2, double* gram, int64_t row_step,
                         int64_t column_step, bool symmetric, bool symmetrize, bool accumulate) {
  const int64_t i = int64_t(blockIdx.x) * kAddThreads + threadIdx.x;
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
  const int32_t count = int32_t(f.begin.size());
  const int32_t tiles = int32_t(f.tile_first.size());
  const int32_t functions = int32_t(f.function_first.size());
  f.function_first.push_back(count);
  f.tile_first.push_back(count);
  f.begin.push_back(int32_t(side.rows));
  return {
      .begin = device_copy(run, f.begin.data(), count + 1),
      .tile_first = device_copy(run, f.tile_first.data(), tiles + 1),
      .function_first = device_copy(run, f.function_first.data(), functions + 1),
      .count = count,
      .tiles = tiles,
      .functions = functions,
  };
}

int most_fragments(const GramSide& side, int tile) {
  Fragments f(side, tile);
  f.tile_first.push_back(int32_t(f.begin.size()));
  int32_t most = 0;
  for (size_t i = 0; i + 1 < f.tile_first.size(); ++i)
    most = std::max(most, f.tile_first[i + 1] - f.tile_first[i]);
  return most;
}

namespace {

// Depths of one block. Few tiles are cut along the depth as well, so that the chip has work: by shape alone,
// to about two blocks a multiprocessor of an H200, in pieces of some steps of block_product. (Otherwise the
// sums of 64 functions' biases, which are one pair of tiles, would be one block's work.)
int64_t chunk_of(const GramProblem& problem, const Cut& cut1, const Cut& cut2) {
  const int64_t depth = std::max<int64_t>(problem.depth, 1);
  if (problem.factor != Factor::kOne) return depth;
  const int64_t pairs = int64_t{cut1.tiles} * cut2.tiles;
  const int64_t wanted = std::max<int64_t>(1, 264 / std::max<int64_t>(pairs, 1));
  const int64_t least = (depth + wanted - 1) / wanted;
  const int64_t unit = least > kGramDepth ? kGramDepth : kLeastDepth;
  return (least + unit - 1) / unit * unit;
}

Tiles tiles_of(const GramProblem& problem, Run& run) {
  Tiles tiles{};
  const GramSide &first = problem.first, &second = problem.symmetric ? problem.first : problem.second;
  tiles.d1 = first.d;
  tiles.a1 = first.a;
  tiles.d2 = second.d;
  tiles.a2 = second.a;
  tiles.rows1 = first.rows;
  tiles.rows2 = second.rows;
  tiles.depth = problem.depth;
  tiles.a_depth = problem.a_depth;
  tiles.ids1 = first.ids;
  tiles.ids2 = second.ids;
  tiles.g = problem.g;
  tiles.g_step = problem.g_step;
  tiles.g_columns = problem.g_columns;
  tiles.first_id = problem.first_id;
  tiles.bias = problem.bias;
  tiles.symmetric = problem.symmetric;
  tiles.cut1 = cut(first, kTile, run);
  tiles.cut2 = problem.symmetric ? tiles.cut1 : cut(second, kTile, run);
  tiles.chunk = chunk_of(problem, tiles.cut1, tiles.cut2);
  return tiles;
}

}  // namespace

void gram_tiles(const GramProblem& problem, Run& run) {
  if (wide_gram_fits(problem, run)) return wide_gram(problem, run);
  Stream& stream = stream_of(run);
  Tiles tiles = tiles_of(problem, run);
  const int64_t chunks = std::max<int64_t>(1, (problem.depth + tiles.chunk - 1) / tiles.chunk);
  tiles.sums = device_scratch<double>(run, chunks * tiles.cut1.count * tiles.cut2.count);
  with_math(run.math, [&](auto tag) { start<tag.math>(problem, tiles, unsigned(chunks), stream); });
  const int64_t entries = int64_t{tiles.cut1.functions} * tiles.cut2.functions;
  launch("gram", add_fragments_kernel, dim3(blocks(entries, kAddThreads)), kAddThreads, 0, stream,
         static_cast<const double*>(tiles.sums), int(chunks), tiles.cut1, tiles.cut2,
         problem.gram.as<double>(), problem.gram.stride[0], problem.gram.stride[1], problem.symmetric,
         problem.symmetrize, problem.accumulate);
}

}  // namespace hf::cuda
