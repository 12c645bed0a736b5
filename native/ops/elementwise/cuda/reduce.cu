// Sums over rows: over all of them (reduce), or function by function (segment_reduce). One kernel does both,
// so both live here. A block owns a piece of the rows of 128 columns. A warp has every eighth row, a lane
// four columns of it, with the loads of eight rows (four, with a factor) under way. The warps' sums meet in
// shared memory (4 KiB). Where rows are narrow, fewer lanes have a row and there are more rows at a time.
//   reduce          pieces of 64 rows or more go to scratch memory, and the same kernel adds the pieces
//   segment_reduce  a piece is a function
// There are no atomics. Memory bound: 4 bytes a number (8 with a factor) for 1 or 2 operations.
#include <algorithm>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kShared = 4 * kThreads * sizeof(float);
[[maybe_unused]] constexpr int kBlocks = 3;  // of a multiprocessor: 48 KiB of loads under way
template <bool kScaled>
constexpr int kFlight = kScaled ? 4 : 8;  // rows whose loads are under way together

// 2 to the power of it is how many lanes share a row.
int lanes_of_row(int64_t columns) {
  return std::min(share_of_block(columns), 5);
}

// out[piece, c] (+)= Σ over the piece's rows. Piece p has rows offsets[p] … offsets[p + 1] − 1; without
// offsets every piece has `length` of the `rows`. The pieces are over y and z of the grid.
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
  const int64_t last = begin + length < rows ? begin + length : rows;
  const int64_t end = offsets ? offsets[piece + 1] : last;
  Four sum = {{0, 0, 0, 0}};
  const auto add_rows = [&](const auto& load, [[maybe_unused]] const auto& load_scale) {
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
  if (c < columns) {
    with_loads(x, columns, [&](const auto& load) {
      if constexpr (kScaled)
        with_loads(scale_by, columns, [&](const auto& load_scale) { add_rows(load, load_scale); });
      else
        add_rows(load, 0);
    });
  }
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

// One call of the kernel.
struct Sum {
  Rows x = {};
  int64_t rows = 0;
  int64_t columns = 0;
  Rows scale_by = {};
  const int32_t* scale_rows = nullptr;
  const int32_t* offsets = nullptr;
  int64_t length = 0;
  int64_t pieces = 1;
  Rows out = {};
  bool accumulate = false;
};
void start(const char* name, const Sum& s, Stream& stream) {
  const int shift = lanes_of_row(s.columns);
  const int64_t y = std::min<int64_t>(s.pieces, 32768);  // y and z of a grid go up to 65,535 each
  const dim3 grid(blocks(s.columns, 4ll << shift), unsigned(y), y ? blocks(s.pieces, y) : 0);
  launch(name, s.scale_by.data ? sum_kernel<true> : sum_kernel<false>, grid, kThreads, kShared, stream, s.x,
         s.scale_by, s.scale_rows, s.offsets, s.rows, s.length, s.pieces, s.out, s.accumulate, s.columns,
         shift);
}

// Rows of a piece: as many pieces as a large chip has blocks at a time, or 64 if that is more. By shape
// alone, whatever the chip is, so that the bits are the same.
int64_t piece_length(int64_t rows, int64_t columns) {
  const int shift = lanes_of_row(columns);
  const int64_t column_blocks = std::max<int64_t>(1, blocks(columns, 4ll << shift));
  const int64_t most = std::max<int64_t>(64, 384 / column_blocks);
  const int64_t least = kFlight<false> * (kThreads >> shift);
  return std::max<int64_t>(least, blocks(rows, most));
}

}  // namespace

void run(const ReduceArgs& args, Run& r) {
  on_device(args, r, [&](const ReduceArgs& a, Stream& stream) {
    const int64_t columns = a.x.shape[1];
    Sum sum{.x = rows_of(a.x), .rows = a.x.shape[0], .columns = columns, .scale_by = rows_of(a.scale_by)};
    sum.length = piece_length(sum.rows, columns);
    sum.pieces = std::max<int64_t>(1, blocks(sum.rows, sum.length));
    sum.out = rows_of(a.y);
    sum.accumulate = a.accumulate;
    if (sum.pieces == 1) {
      sum.length = sum.rows;
      return start("reduce", sum, stream);
    }
    const Rows sums{
        .data = device_scratch<float>(r, sum.pieces * columns), .step = columns, .aligned = columns % 4 == 0};
    const Sum of_pieces{
        .x = sums,
        .rows = sum.pieces,
        .columns = columns,
        .length = sum.pieces,
        .out = sum.out,
        .accumulate = a.accumulate,
    };
    sum.out = sums;
    sum.accumulate = false;
    start("reduce", sum, stream);
    start("reduce", of_pieces, stream);
  });
}

void run(const SegmentReduceArgs& args, Run& r) {
  on_device(args, r, [](const SegmentReduceArgs& a, Stream& stream) {
    const Sum sum{
        .x = rows_of(a.x),
        .rows = a.x.shape[0],
        .columns = a.x.shape[1],
        .scale_by = rows_of(a.scale_by),
        .scale_rows = a.scale_rows.as<const int32_t>(),
        .offsets = a.offsets.as<const int32_t>(),
        .pieces = a.offsets.shape[0] - 1,
        .out = rows_of(a.y),
        .accumulate = a.accumulate,
    };
    start("segment_reduce", sum, stream);
  });
}

}  // namespace hf::cuda
