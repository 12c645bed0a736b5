// The Gram matrix of few long rows (rows_gram.h). A block owns 64 × 64 pairs of rows over a piece of their
// length, and writes float64 sums of it to scratch memory; a second kernel adds the pieces up in order. Each
// of the block's 4 warps multiplies all pairs over a fourth of the piece. Fragments come straight from global
// memory: the order of the sum is free, so a lane takes 16 bytes of a row for the words that two mma.sync
// want of it. The fragments of a row as first and as second operand are the same words, so that nothing is
// read twice where both operands are the same rows. Shared memory: 32 KiB for the float64 sums. Memory bound:
// 2 bytes of a row for 64 multiply-adds.
#include "ops/gram/cuda/rows_gram.h"

#include <algorithm>

#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"

namespace hf::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kWarps = 4;
constexpr int kEights = kTile / 8;
constexpr int kEntries = kTile * kTile;
constexpr int kStep = 32;                   // of a row for one load of a warp: 4 lanes of 8 numbers
constexpr int kBlockStep = kWarps * kStep;  // the same of all warps

struct Long {
  const uint16_t *rows, *others;
  int64_t count, other_count, width, piece;
  bool symmetric;
  double* sums;  // (row tiles, column tiles, pieces, 64 × 64)
};

// A lane's numbers of its rows 8 e + g of a tile, 8 numbers each.
using Eights = uint4[kEights];
using Accumulators = float[kTile / 16][kEights][4];

// Loads rows 8 e of those from `row` on, of which `count` are left; zeros where there are none.
HF_DEVICE void load(Eights& out, const uint16_t* row, int count, int64_t width, bool any) {
#pragma unroll
  for (int e = 0; e < kEights; ++e, row += 8 * width)
    out[e] = any && 8 * e < count ? *reinterpret_cast<const uint4*>(row) : make_uint4(0, 0, 0, 0);
}
HF_DEVICE int left(int64_t count, int64_t row) {
  return row < count ? int(count - row < kTile ? count - row : kTile) : 0;
}

// acc += x yᵀ over the 32 numbers of depth that the warp's lanes hold. kSame: x is y, and only the upper half
// is wanted.
template <bool kSame>
HF_DEVICE void multiply(Accumulators& acc, const Eights& x, const Eights& y) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int i = 0; i < kTile / 16; ++i) {
      const uint4& upper = x[2 * i];
      const uint4& lower = x[2 * i + 1];
      const uint32_t first[4] = {half ? upper.z : upper.x, half ? lower.z : lower.x, half ? upper.w : upper.y,
                                 half ? lower.w : lower.y};
#pragma unroll
      for (int j = kSame ? 2 * i : 0; j < kEights; ++j) {
        const uint32_t second[2] = {half ? y[j].z : y[j].x, half ? y[j].w : y[j].y};
        mma_bf16(acc[i][j], first, second);
      }
    }
}

// sums += acc of all warps. They take turns at the rows, so that every sum has one order.
template <bool kSame>
HF_DEVICE void add_in_turns(Shared<double> sums, const Accumulators& acc) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
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
  const int64_t begin = int64_t(blockIdx.x) * p.piece;
  const int64_t end = begin + p.piece < p.width ? begin + p.piece : p.width;
  for (int64_t part = begin; part < end; part += kWarps * kRowsGramDepth) {
    const int64_t part_end = part + kWarps * kRowsGramDepth < end ? part + kWarps * kRowsGramDepth : end;
    Accumulators acc;
    clear(acc);
    Eights a, b;
    const int64_t row = int64_t(ti) * kTile + g;
    const int64_t other = int64_t(tj) * kTile + g;
    const int64_t k = part + warp * kStep + 8 * t;
    const uint16_t *from = p.rows + row * p.width + k, *other_from = p.others + other * p.width + k;
    int numbers = int(part_end - k);  // left for this lane
    const auto fetch = [&] {
      load(a, from, left(p.count, row), p.width, numbers > 0);
      if (!kSame) load(b, other_from, left(p.other_count, other), p.width, numbers > 0);
      from += kBlockStep;
      other_from += kBlockStep;
      numbers -= kBlockStep;
    };
    const int steps = int((part_end - part + kBlockStep - 1) / kBlockStep);  // the same of all lanes
    if constexpr (kSame) {
      fetch();
      for (int step = 0; step < steps; ++step) {
        Eights now;
#pragma unroll
        for (int e = 0; e < kEights; ++e)
          now[e] = a[e];
        fetch();  // on its way while the one before is multiplied
        multiply<kSame>(acc, now, now);
      }
    } else {
      for (int step = 0; step < steps; ++step) {
        fetch();
        multiply<kSame>(acc, a, b);
      }
    }
    add_in_turns<kSame>(sums, acc);
  }
  const int64_t columns = (p.other_count + kTile - 1) / kTile;
  double* out = p.sums + ((int64_t(ti) * columns + tj) * gridDim.x + blockIdx.x) * kEntries;
  for (int i = threadIdx.x; i < kEntries; i += kWarps * kWarp)
    out[i] = static_cast<double>(sums[i]);
}

// Adds the pieces up. A block owns 32 entries, and each of its 8 warps takes every eighth piece of them, a
// lane an entry. Shared memory: 2 KiB. Memory bound: 8 bytes a piece and entry.
constexpr int kGroups = 8;
HF_KERNEL __launch_bounds__(kGroups* kWarp)
    add_pieces_kernel(Long p, int pieces, double* gram, int64_t row_step, int64_t column_step,
                      bool accumulate) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kGroups * kWarp);
  const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
  const int64_t columns = (p.other_count + kTile - 1) / kTile;
  const int64_t entry = int64_t(blockIdx.x) * kWarp + lane;
  const int64_t tile = entry / kEntries;
  const int within = int(entry % kEntries);
  const int64_t s = tile / columns * kTile + within / kTile;
  const int64_t u = tile % columns * kTile + within % kTile;
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

// Numbers of a row for one block: pieces, so that the chip has work, to about three blocks a multiprocessor
// of an H200, by shape alone.
int64_t piece_of(int64_t width, int64_t tiles) {
  constexpr int64_t kLeast = kBlockStep * 4;
  const int64_t wanted = std::max<int64_t>(1, 396 / tiles);
  const int64_t share = (width + wanted - 1) / wanted;
  return std::max(kLeast, (share + kLeast - 1) / kLeast * kLeast);
}

}  // namespace

void rows_gram(const RowsGramProblem& problem, Run& run) {
  Stream& stream = stream_of(run);
  Long p{};
  p.symmetric = !problem.others;
  p.rows = problem.rows;
  p.others = p.symmetric ? problem.rows : problem.others;
  p.count = problem.count;
  p.other_count = p.symmetric ? problem.count : problem.other_count;
  p.width = problem.width;
  const unsigned rows = blocks(p.count, kTile), columns = blocks(p.other_count, kTile);
  if (rows == 0 || columns == 0) return;
  const int64_t tiles = p.symmetric ? int64_t(rows) * (rows + 1) / 2 : int64_t(rows) * columns;
  p.piece = piece_of(p.width, tiles);
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
