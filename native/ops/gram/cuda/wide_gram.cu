// Gram tiles of bfloat16 rows on Hopper (wide_gram.h). A block takes tiles of 128 × 256 pairs of rows, as
// wide.h says; each of its two consumer warpgroups owns 64 rows of one. A warpgroup multiplies its 64 × 256
// factors and keeps them as bfloat16 (64 registers a thread). Then it multiplies the other operands over the
// same accumulators, and sums the products by fragments (what a function has of its 64 rows, and of the
// tile's columns): along a row in float32 in registers, over rows in float64 through 8 KiB of shared memory.
// Compute bound: 2 (I + O) operations for every pair of rows.
#include "ops/gram/cuda/wide_gram.h"

#include "backends/cuda/pack_rows.h"
#include "backends/cuda/wide.h"

namespace hf::cuda {
namespace {

constexpr int kRowTile = 64;        // fragments of rows end there
constexpr int kMostFragments = 32;  // of columns in a tile
constexpr int kAddThreads = 256;

struct WideGram {
  float bias;
  bool factors, symmetric;
  Cut cut1, cut2;
  double* sums;  // (F1, F2)
};

#ifdef HF_HOPPER_CODE

// Where a pair of rows stands, by how far its column is past the diagonal: pairs above count once, those on
// the diagonal half (they are doubled in the end), those below not at all.
HF_DEVICE float weight_of(int past, int column) {
  return past > -column ? 1.0f : past == -column ? 0.5f : 0.0f;
}

struct GramEpilogue {
  const WideGram& p;

  // The fragments of one warpgroup's part of a tile.
  struct Part {
    int row0, column0;
    int p0, np;  // of rows: the first one, and how many
    int q0, nq;  // of columns
  };
  HF_DEVICE Part part_at(int row0, int column0) const {
    const int row_tile = row0 / kRowTile, column_tile = column0 / kWideColumns;
    const bool inside = row_tile < p.cut1.tiles;
    const int p0 = inside ? p.cut1.tile_first[row_tile] : 0;
    const int np = inside ? p.cut1.tile_first[row_tile + 1] - p0 : 0;
    const int q0 = p.cut2.tile_first[column_tile];
    const int nq = p.cut2.tile_first[column_tile + 1] - q0;
    return {row0, column0, p0, np, q0, nq};
  }
  // The first column, within the tile, that is not column fragment q's any more.
  HF_DEVICE int end_of(const Part& at, int q) const {
    return q < at.nq ? p.cut2.begin[at.q0 + q + 1] - at.column0 : INT32_MAX;
  }

  // The products (and factors) of one row that a lane holds, summed by column fragments. Lanes 4 g … 4 g + 3
  // share a row; columns come in eights, two to a lane.
  HF_DEVICE void sum_row(const Part& at, const WideAccumulators& c, const uint32_t (&factors)[32][2],
                         int half, int row, float* sums) const {
    const int t = threadIdx.x % 4;
    const bool diagonal =
        p.symmetric && at.column0 < at.row0 + kRowTile;     // some columns are not past all rows
    const int past = at.column0 + 2 * t - (at.row0 + row);  // columns of the first entry past the diagonal
    float sum = 0;
    int q = 0, end = end_of(at, q);
#pragma unroll
    for (int j = 0; j < 32; ++j) {
      float x = c[j][2 * half], y = c[j][2 * half + 1];
      if (p.factors) {
        x *= __uint_as_float(factors[j][half] << 16);
        y *= __uint_as_float(factors[j][half] & 0xffff0000u);
      }
      if (diagonal) {
        x *= weight_of(past, 8 * j);
        y *= weight_of(past, 8 * j + 1);
      }
      while (end <= 8 * j + 8) {  // fragments that end within these eight columns
        if (8 * j < end - 2 * t) {
          sum += x;
          x = 0;
        }
        if (8 * j + 1 < end - 2 * t) {
          sum += y;
          y = 0;
        }
        sum += __shfl_xor_sync(kAllLanes, sum, 1);
        sum += __shfl_xor_sync(kAllLanes, sum, 2);
        if (t == 0) sums[row * kMostFragments + q] = sum;
        sum = 0;
        ++q;
        end = end_of(at, q);
      }
      sum += x + y;
    }
  }

  // Σ over row fragments, to scratch memory.
  HF_DEVICE void sum_rows(const Part& at, const float* sums) const {
    for (int i = threadIdx.x % kWarpgroup; i < at.np * at.nq; i += kWarpgroup) {
      const int fragment = at.p0 + i / at.nq;
      double sum = 0;
      for (int r = p.cut1.begin[fragment] - at.row0; r < p.cut1.begin[fragment + 1] - at.row0; ++r)
        sum += double(sums[r * kMostFragments + i % at.nq]);
      p.sums[int64_t(fragment) * p.cut2.count + at.q0 + i % at.nq] = sum;
    }
  }

  template <class Product>
  HF_DEVICE void tile(const Product& product, int row0, int column0, int group, char* extra) const {
    WideAccumulators c;
    uint32_t factors[32][2];
    if (p.factors) {
      product(0, c);
#pragma unroll
      for (int j = 0; j < 32; ++j) {
        factors[j][0] = to_bf16x2(c[j][0] + p.bias, c[j][1] + p.bias);
        factors[j][1] = to_bf16x2(c[j][2] + p.bias, c[j][3] + p.bias);
      }
    }
    product(p.factors ? 1 : 0, c);
    const Part at = part_at(row0, column0);
    const int thread = threadIdx.x % kWarpgroup, g = thread % kWarp / 4;
    const int warp_row = thread / kWarp * 16;
    float* sums = reinterpret_cast<float*>(extra) + (group - 1) * kRowTile * kMostFragments;
#pragma unroll
    for (int half = 0; half < 2; ++half)
      sum_row(at, c, factors, half, warp_row + g + 8 * half, sums);
    warpgroup_sync(group);
    sum_rows(at, sums);
    warpgroup_sync(group);
  }
};
#endif

HF_WIDE_KERNEL
wide_gram_kernel(const __grid_constant__ WideOperands factors, const __grid_constant__ WideOperands products,
                 const WideTiles tiles, const WideGram p) {
#ifdef HF_HOPPER_CODE
  if (p.factors)
    wide_kernel<2>({&factors, &products}, tiles, GramEpilogue{p});
  else
    wide_kernel<1>({&products}, tiles, GramEpilogue{p});
#endif
}

// Adds fragments up. A thread owns an entry of K, s ≤ u where it is symmetric. No shared memory. Memory
// bound: 8 bytes for each pair of fragments.
HF_KERNEL __launch_bounds__(kAddThreads)
    add_kernel(const double* sums, Cut cut1, Cut cut2, double* gram, int64_t row_step, int64_t column_step,
               bool symmetric, bool accumulate) {
  const int64_t i = int64_t(blockIdx.x) * kAddThreads + threadIdx.x;
  const int64_t s = i / cut2.functions, u = i % cut2.functions;
  if (s >= cut1.functions || (symmetric && u < s)) return;
  double sum = 0;
  for (int32_t p = cut1.function_first[s]; p < cut1.function_first[s + 1]; ++p)
    for (int32_t q = cut2.function_first[u]; q < cut2.function_first[u + 1]; ++q) {
      // Tiles below the diagonal do not exist; on it, pairs (n, m > n) count once and (n, n) half.
      const int64_t row = cut1.begin[p] / (2 * kWideRows) * (2 * kWideRows);
      const int64_t column_end = (cut2.begin[q] / kWideColumns + 1) * kWideColumns;
      if (!symmetric || column_end > row) sum += sums[int64_t(p) * cut2.count + q];
    }
  if (symmetric && s == u) sum *= 2;
  double* target = gram + s * row_step + u * column_step;
  const double total = accumulate ? *target + sum : sum;
  *target = total;
  if (symmetric && u != s) gram[u * row_step + s * column_step] = total;
}

WideOperands operands_of(const Operand& a, int64_t rows1, const Operand& b, int64_t rows2, int64_t depth,
                         bool same, Run& run) {
  WideOperands o;
  const PackedRows first = pack_rows(a, rows1, depth, run);
  const PackedRows second = same ? first : pack_rows(b, rows2, depth, run);
  o.a = tensor_map(first.data, rows1, depth, first.step, kWideRows);
  o.b = tensor_map(second.data, rows2, depth, second.step, kWideColumns / 2);
  o.depth_boxes = int(blocks(depth, kWideDepth));
  return o;
}

}  // namespace

bool wide_gram_fits(const GramProblem& p, Run& run) {
  if (run.math != Math::kBf16 || !stream_of(run).hopper()) return false;
  const bool plain = p.factor == Factor::kOne && p.depth > 0;
  const bool product = p.factor == Factor::kProduct && p.depth > 0 && p.a_depth > 0;
  if (!(plain || product) || p.symmetrize) return false;
  const GramSide& second = p.symmetric ? p.first : p.second;
  const bool fills_the_chip = p.first.rows * second.rows >= int64_t{1} << 22;
  return fills_the_chip && most_fragments(second, kWideColumns) <= kMostFragments;
}

void wide_gram(const GramProblem& problem, Run& run) {
  Stream& stream = stream_of(run);
  const GramSide &first = problem.first, &second = problem.symmetric ? problem.first : problem.second;
  WideGram p{};
  p.bias = problem.bias;
  p.factors = problem.factor == Factor::kProduct;
  p.symmetric = problem.symmetric;
  p.cut1 = cut(first, kRowTile, run);
  p.cut2 = cut(second, kWideColumns, run);
  p.sums = device_scratch<double>(run, int64_t{p.cut1.count} * p.cut2.count);
  const WideOperands products =
      operands_of(first.d, first.rows, second.d, second.rows, problem.depth, problem.symmetric, run);
  const WideOperands factors = p.factors ? operands_of(first.a, first.rows, second.a, second.rows,
                                                       problem.a_depth, problem.symmetric, run)
                                         : products;
  const WideTiles tiles{
      .rows = int(blocks(first.rows, 2 * kWideRows)) * 2,
      .columns = int(blocks(second.rows, kWideColumns)),
      .upper = problem.symmetric,
  };
  launch("token_gram, wide", wide_gram_kernel, wide_grid(tiles, stream), kWideThreads, kWideSharedBytes,
         stream, factors, products, tiles, p);
  const int64_t entries = int64_t{p.cut1.functions} * p.cut2.functions;
  launch("gram", add_kernel, dim3(blocks(entries, kAddThreads)), kAddThreads, 0, stream,
         static_cast<const double*>(p.sums), p.cut1, p.cut2, problem.gram.as<double>(),
         problem.gram.stride[0], problem.gram.stride[1], problem.symmetric, problem.accumulate);
}

}  // namespace hf::cuda
