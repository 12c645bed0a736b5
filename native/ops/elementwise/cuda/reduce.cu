// Sums over rows, all or function by function. A block has a piece of the rows of 128 columns: a warp every
// eighth row, a lane four columns of it, with the loads of eight rows (four, with a factor) under way; the
// warps' sums meet in shared memory (4 KiB). Narrow rows: fewer lanes to a row, more rows at a time.
//   reduce: pieces of 64 rows or more go to scratch memory; the same kernel adds the pieces.
//   segment_reduce: the piece is a function.
// No atomics. Memory bound: 4 bytes a number (8 with a factor) for 1 or 2 operations.
#include <algorithm>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kShared = 4 * kThreads * sizeof(float);
constexpr int kBlocks = 3;  // of a multiprocessor: 48 KiB of loads under way
template <bool kScaled>
constexpr int kFlight = kScaled ? 4 : 8;  // rows whose loads are under way together

// The exponent of 2 of the lanes that share a row.
int lanes_of_row(int64_t columns) {
  return std::min(share_of_block(columns), 5);
}

// out[piece, c] (+)= Σ over the piece's rows; piece p has rows offsets[p] … offsets[p + 1] − 1, or `length`
// of `rows` each. The pieces are over y and z of the grid.
template <bool kScaled>
__global__ void __launch_bounds__(kThreads, kBlocks)
    sum_kernel(Rows x, Rows scale_by, const int32_t* scale_rows, const int32_t* offsets, int64_t rows,
               int64_t length, int64_t pieces, Rows out, bool accumulate, int64_t columns, int shift) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(4 * kThreads);
  const int64_t piece = blockIdx.y + int64_t(blockIdx.z) * gridDim.y;
  if (piece >= pieces) return;
  const int lane = int(threadIdx.x) & ((1 << shift) - 1);
  const int group = int(threadIdx.x) >> shift;
  const int groups = kThreads >> shift;
  const int64_t first_column = int64_t(blockIdx.x) * (4ll << shift), c = first_column + 4 * lane;
  const int64_t begin = offsets ? offsets[piece] : piece * length;
  const int64_t end = offsets ? offsets[piece + 1] : (begin + length < rows ? begin + length : rows);
  Four sum = {{0, 0, 0, 0}};
  const auto add_rows = [&](const auto& load, const auto& load_scale) {
    for (int64_t first = begin + group; first < end; first += int64_t(kFlight<kScaled>) * groups) {
      Four a[kFlight<kScaled>], b[kFlight<kScaled>];
#pragma unroll
      for (int r = 0; r < kFlight<kScaled>; ++r) {
        const int64_t n = first + r * groups;
        a[r] = b[r] = {{0, 0, 0, 0}};
        if (n < end) {
          a[r] = load(n, c);
          if constexpr (kScaled) b[r] = load_scale(scale_rows ? scale_rows[n] : n, c);
        }
      }
#pragma unroll
      for (int r = 0; r < kFlight<kScaled>; ++r)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          sum.v[i] += kScaled ? a[r].v[i] * b[r].v[i] : a[r].v[i];
    }
  };
  if (c < columns)
    with_loads(x, columns, [&](const auto& load) {
      if constexpr (kScaled)
        with_loads(scale_by, columns, [&](const auto& load_scale) { add_rows(load, load_scale); });
      else
        add_rows(load, 0);
    });
#pragma unroll
  for (int i = 0; i < 4; ++i)
    room[i * kThreads + int(threadIdx.x)] = sum.v[i];
  __syncthreads();
  const int64_t column = first_column + 4 * lane + group;  // from here on a thread has one column
  if (group >= 4 || column >= columns) return;
  float total = 0;
  for (int g = 0; g < groups; ++g)
    total += static_cast<float>(room[group * kThreads + (g << shift) + lane]);
  float* y = out.row(piece) + column;
  *y = accumulate ? *y + total : total;
}

void sum(const char* name, const Rows& x, int64_t rows, int64_t columns, const Rows& scale_by,
         const int32_t* scale_rows, const int32_t* offsets, int64_t length, int64_t pieces, const Rows& out,
         bool accumulate, Stream& stream) {
  const int shift = lanes_of_row(columns);
  const int64_t y = std::min<int64_t>(pieces, 32768);  // y and z of a grid go up to 65,535 each
  launch(name, scale_by.data ? sum_kernel<true> : sum_kernel<false>,
         dim3(blocks(columns, 4ll << shift), unsigned(y), y ? blocks(pieces, y) : 0), kThreads, kShared,
         stream, x, scale_by, scale_rows, offsets, rows, length, pieces, out, accumulate, columns, shift);
}

}  // namespace

void run(const ReduceArgs& args, Run& r) {
  on_device(args, r, [&](const ReduceArgs& a, Stream& stream) {
    // As many pieces as a large chip has blocks at a time, 64 if that is more: whatever the chip, for the
    // same bits.
    const int64_t rows = a.x.shape[0], columns = a.x.shape[1], shift = lanes_of_row(columns);
    const int64_t most = std::max<int64_t>(64, 384 / std::max<int64_t>(1, blocks(columns, 4ll << shift)));
    const int64_t least = kFlight<false> * (kThreads >> shift);
    const int64_t length = std::max<int64_t>(least, blocks(rows, most));
    const int64_t pieces = std::max<int64_t>(1, blocks(rows, length));
    const Rows y = rows_of(a.y);
    if (pieces == 1)
      return sum("reduce", rows_of(a.x), rows, columns, rows_of(a.scale_by), nullptr, nullptr, rows, 1, y,
                 a.accumulate, stream);
    const Rows sums{device_scratch<float>(r, pieces * columns), columns, columns % 4 == 0};
    sum("reduce", rows_of(a.x), rows, columns, rows_of(a.scale_by), nullptr, nullptr, length, pieces, sums,
        false, stream);
    sum("reduce", sums, pieces, columns, {}, nullptr, nullptr, pieces, 1, y, a.accumulate, stream);
  });
}

void run(const SegmentReduceArgs& args, Run& r) {
  on_device(args, r, [](const SegmentReduceArgs& a, Stream& stream) {
    sum("segment_reduce", rows_of(a.x), a.x.shape[0], a.x.shape[1], rows_of(a.scale_by),
        a.scale_rows.as<const int32_t>(), a.offsets.as<const int32_t>(), 0, a.offsets.shape[0] - 1,
        rows_of(a.y), a.accumulate, stream);
  });
}

}  // namespace hf::cuda
