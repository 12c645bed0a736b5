// rows_gram.h: a block owns 64 × 64 pairs of rows over a piece of their length, and writes float64 sums of it
// to scratch memory; a second kernel adds the pieces up in order. Each of the block's 4 warps multiplies all
// pairs over a fourth of the piece, with fragments straight from global memory: the sum's order is free, so a
// lane takes 16 bytes of a row for the words that two mma.sync want of it. The fragments of a row as first
// and as second operand are the same words: where both operands are the same rows nothing is read twice.
// Shared memory: the 32 KiB of float64 sums. Bound by memory: 2 bytes of a row for 64 multiply-adds.
#include <algorithm>

#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"
#include "ops/gram/cuda/rows_gram.h"

namespace hf::cuda {
namespace {

constexpr int kTile = 64, kWarps = 4, kEights = kTile / 8, kEntries = kTile * kTile;
constexpr int kStep = 32;  // of a row for one load of a warp: 4 lanes of 8 numbers

struct Long {
  const uint16_t *rows, *others;
  int64_t count, other_count, width, piece;
  bool symmetric;
  double* sums;  // (row tiles, column tiles, pieces, 64 × 64)
};

// Rows 8 e of those from `row` on, of which `count` are left, 8 numbers each, if there are any.
HF_DEVICE void load(uint4 (&out)[kEights], const uint16_t* row, int count, int64_t width, bool any) {
#pragma unroll
  for (int e = 0; e < kEights; ++e, row += 8 * width)
    out[e] = any && 8 * e < count ? *reinterpret_cast<const uint4*>(row) : make_uint4(0, 0, 0, 0);
}
HF_DEVICE int left(int64_t count, int64_t row) {
  return row < count ? int(count - row < kTile ? count - row : kTile) : 0;
}

// kSame: tiles on the diagonal, whose lower half is left out.
template <bool kSame>
__global__ void __launch_bounds__(kWarps* kWarp, kSame ? 3 : 2) rows_gram_kernel(Long p) {
  const int ti = blockIdx.z, tj = kSame ? ti : blockIdx.y;
  if (!kSame && p.symmetric && tj <= ti) return;
  SharedMemory memory;
  const Shared<double> sums = memory.take<double>(kEntries);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  for (int i = threadIdx.x; i < kEntries; i += kWarps * kWarp)
    sums[i] = 0;
  __syncthreads();
  const int64_t begin = int64_t(blockIdx.x) * p.piece,
                end = begin + p.piece < p.width ? begin + p.piece : p.width;
  for (int64_t part = begin; part < end; part += kWarps * kRowsGramDepth) {
    const int64_t part_end = part + kWarps * kRowsGramDepth < end ? part + kWarps * kRowsGramDepth : end;
    float acc[kTile / 16][kEights][4];
    clear(acc);
    uint4 a[kEights], b[kEights];
    const int64_t row = int64_t(ti) * kTile + g, other = int64_t(tj) * kTile + g,
                  k = part + warp * kStep + 8 * t;
    const uint16_t *from = p.rows + row * p.width + k, *other_from = p.others + other * p.width + k;
    int numbers = int(part_end - k);  // left for this lane
    const auto fetch = [&] {
      load(a, from, left(p.count, row), p.width, numbers > 0);
      if (!kSame) load(b, other_from, left(p.other_count, other), p.width, numbers > 0);
      from += kWarps * kStep, other_from += kWarps * kStep, numbers -= kWarps * kStep;
    };
    const auto multiply = [&](const uint4(&x)[kEights], const uint4(&y)[kEights]) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < kTile / 16; ++i) {
          const uint4 &upper = x[2 * i], &lower = x[2 * i + 1];
          const uint32_t first[4] = {half ? upper.z : upper.x, half ? lower.z : lower.x,
                                     half ? upper.w : upper.y, half ? lower.w : lower.y};
#pragma unroll
          for (int j = kSame ? 2 * i : 0; j < kEights; ++j) {
            const uint32_t second[2] = {half ? y[j].z : y[j].x, half ? y[j].w : y[j].y};
            mma_bf16(acc[i][j], first, second);
          }
        }
    };
    const int steps =
        int((part_end - part + kWarps * kStep - 1) / (kWarps * kStep));  // the same of all lanes
    if constexpr (kSame) {
      fetch();
      for (int step = 0; step < steps; ++step) {
        uint4 now[kEights];
#pragma unroll
        for (int e = 0; e < kEights; ++e)
          now[e] = a[e];
        fetch();  // on its way while the one before is multiplied
        multiply(now, now);
      }
    } else {
      for (int step = 0; step < steps; ++step) {
        fetch();
        multiply(a, b);
      }
    }
    // Warps take turns at the rows, so that every sum has one order.
#pragma unroll
    for (int turn = 0; turn < kWarps; ++turn) {
#pragma unroll
      for (int i = 0; i < kTile / 16; ++i) {
        if ((i + warp) % kWarps != turn) continue;
#pragma unroll
        for (int j = kSame ? 2 * i : 0; j < kEights; ++j)
#pragma unroll
          for (int r = 0; r < 4; ++r)
            sums[(16 * i + g + 8 * (r / 2)) * kTile + 8 * j + 2 * t + r % 2] += double(acc[i][j][r]);
      }
      __syncthreads();
    }
  }
  const int64_t columns = (p.other_count + kTile - 1) / kTile;
  double* out = p.sums + ((int64_t(ti) * columns + tj) * gridDim.x + blockIdx.x) * kEntries;
  for (int i = threadIdx.x; i < kEntries; i += kWarps * kWarp)
    out[i] = static_cast<double>(sums[i]);
}

// A block adds up the pieces of 32 entries, each by 8 threads that take every eighth piece.
constexpr int kGroups = 8;
HF_KERNEL __launch_bounds__(kGroups* kWarp)
    add_pieces_kernel(Long p, int pieces, double* gram, int64_t row_step, int64_t column_step,
                      bool accumulate) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kGroups * kWarp);
  const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
  const int64_t columns = (p.other_count + kTile - 1) / kTile, entry = int64_t(blockIdx.x) * kWarp + lane,
                tile = entry / kEntries;
  const int within = int(entry % kEntries);
  const int64_t s = tile / columns * kTile + within / kTile, u = tile % columns * kTile + within % kTile;
  const bool wanted = s < p.count && u < p.other_count && (!p.symmetric || s <= u);
  double sum = 0;
  if (wanted)
    for (int z = group; z < pieces; z += kGroups)
      sum += p.sums[(tile * pieces + z) * kEntries + within];
  room[group * kWarp + lane] = sum;
  __syncthreads();
  if (group != 0 || !wanted) return;
  for (int other = 1; other < kGroups; ++other)
    sum += static_cast<double>(room[other * kWarp + lane]);
  double* target = gram + s * row_step + u * column_step;
  const double total = accumulate ? *target + sum : sum;
  *target = total;
  if (p.symmetric && s != u) gram[u * row_step + s * column_step] = total;
}

}  // namespace

void rows_gram(const RowsGramProblem& problem, Run& run) {
  Stream& stream = stream_of(run);
  Long p{};
  p.symmetric = !problem.others;
  p.rows = problem.rows, p.others = p.symmetric ? problem.rows : problem.others;
  p.count = problem.count, p.other_count = p.symmetric ? problem.count : problem.other_count,
  p.width = problem.width;
  const unsigned rows = blocks(p.count, kTile), columns = blocks(p.other_count, kTile);
  if (rows == 0 || columns == 0) return;
  // Pieces, so that the chip has work: to about three blocks a multiprocessor of an H200, by shape alone.
  constexpr int64_t kLeast = kWarps * kStep * 4;
  const int64_t tiles = p.symmetric ? int64_t(rows) * (rows + 1) / 2 : int64_t(rows) * columns,
                wanted = std::max<int64_t>(1, 396 / tiles);
  p.piece = std::max(kLeast, ((p.width + wanted - 1) / wanted + kLeast - 1) / kLeast * kLeast);
  const unsigned pieces = std::max(1u, blocks(p.width, p.piece));
  p.sums = device_scratch<double>(run, int64_t(rows) * columns * pieces * kEntries);
  constexpr int kShared = kEntries * int(sizeof(double));
  if (p.symmetric)
    launch("gram of long rows", rows_gram_kernel<true>, dim3(pieces, 1, rows), kWarps * kWarp, kShared,
           stream, p);
  if (!p.symmetric || rows > 1)
    launch("gram of long rows", rows_gram_kernel<false>, dim3(pieces, columns, rows), kWarps * kWarp, kShared,
           stream, p);
  launch("gram", add_pieces_kernel, dim3(blocks(int64_t(rows) * columns * kEntries, kWarp)), kGroups * kWarp,
         kGroups * kWarp * int(sizeof(double)), stream, p, int(pieces), problem.gram.as<double>(),
         problem.gram.stride[0], problem.gram.stride[1], problem.accumulate);
}

}  // namespace hf::cuda
