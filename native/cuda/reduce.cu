// Sums over rows, all or function by function. A thread owns four columns of a piece of rows, with the loads of four rows under way.
//   reduce: pieces of 32 rows or more go to scratch memory, a second kernel adds the pieces: a warp an eighth of them, in order (shared memory: 1 KiB).
//   segment_reduce: the piece is a function.
// No atomics. Memory bound: 4 bytes a number (8 with a factor) for 1 or 2 operations.
#include <algorithm>

#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kFlight = 4;  // rows whose loads are under way together
constexpr int kWarps = kThreads / kWarp;
constexpr int kShared = kThreads * sizeof(float);

// out[piece, c] (+)= Σ over the piece's rows; piece p has rows offsets[p] … offsets[p + 1] − 1, or `length` of `rows` each. 2^shift threads share a piece; the
// pieces are over y and z of the grid.
HF_KERNEL __launch_bounds__(kThreads) sum_kernel(Rows x, Rows scale_by, const int32_t* scale_rows, const int32_t* offsets, int64_t rows, int64_t length, int64_t pieces,
                                                 Rows out, bool accumulate, int64_t columns, int shift) {
  const int64_t c = ((int64_t(blockIdx.x) << shift) + (threadIdx.x & ((1u << shift) - 1))) * 4;
  const int64_t piece = (blockIdx.y + int64_t(blockIdx.z) * gridDim.y) * (kThreads >> shift) + (threadIdx.x >> shift);
  if (c >= columns || piece >= pieces) return;
  const int64_t begin = offsets ? offsets[piece] : piece * length;
  const int64_t end = offsets ? offsets[piece + 1] : (begin + length < rows ? begin + length : rows);
  Four sum = {{0, 0, 0, 0}};
  for (int64_t first = begin; first < end; first += kFlight) {
    Four a[kFlight], b[kFlight];
#pragma unroll
    for (int r = 0; r < kFlight; ++r) {
      const int64_t n = first + r;
      if (n >= end) break;
      a[r] = x.load(n, c, columns);
      if (scale_by.data) b[r] = scale_by.load(scale_rows ? scale_rows[n] : n, c, columns);
    }
#pragma unroll
    for (int r = 0; r < kFlight; ++r) {
      if (first + r >= end) break;
#pragma unroll
      for (int i = 0; i < 4; ++i) sum.v[i] += scale_by.data ? a[r].v[i] * b[r].v[i] : a[r].v[i];
    }
  }
  if (accumulate) {
    const Four y = out.load(piece, c, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum.v[i] += y.v[i];
  }
  out.store(piece, c, columns, sum);
}

// A block owns 32 columns.
HF_KERNEL __launch_bounds__(kThreads) add_pieces_kernel(const float* pieces, int64_t count, float* y, bool accumulate, int64_t columns) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t c = int64_t(blockIdx.x) * kWarp + lane, share = (count + kWarps - 1) / kWarps;
  float sum = 0;
  if (c < columns) {
    const int64_t end = (warp + 1) * share < count ? (warp + 1) * share : count;
#pragma unroll 8
    for (int64_t p = warp * share; p < end; ++p) sum += pieces[p * columns + c];
  }
  room[threadIdx.x] = sum;
  __syncthreads();
  if (warp > 0 || c >= columns) return;
  for (int w = 1; w < kWarps; ++w) sum += static_cast<float>(room[w * kWarp + lane]);
  y[c] = accumulate ? y[c] + sum : sum;
}

void sum(const char* name, const View& x, const View& scale_by, const int32_t* scale_rows, const int32_t* offsets, int64_t length, int64_t pieces, const Rows& out,
         bool accumulate, Stream& stream) {
  const int64_t columns = x.shape[1];
  const int shift = share_of_block(columns);
  const int64_t groups = blocks(pieces, kThreads >> shift), y = std::min<int64_t>(groups, 32768);  // y and z of a grid go up to 65,535 each
  launch(name, sum_kernel, dim3(blocks(columns, 4ll << shift), unsigned(y), y ? blocks(groups, y) : 0), kThreads, 0, stream, rows_of(x), rows_of(scale_by), scale_rows,
         offsets, x.shape[0], length, pieces, out, accumulate, columns, shift);
}

}  // namespace

void run(const ReduceArgs& args, Run& r) {
  on_device(args, r, [&](const ReduceArgs& a, Stream& stream) {
    // Pieces so that about 2^18 threads have work, the number that a large chip holds, whatever the shape.
    const int64_t rows = a.x.shape[0], columns = a.x.shape[1], most = std::max<int64_t>(1, (1 << 20) / std::max<int64_t>(columns, 4));
    const int64_t length = std::max<int64_t>(32, blocks(rows, most)), pieces = blocks(rows, length);
    float* sums = device_scratch<float>(r, pieces * columns);
    sum("reduce", a.x, a.scale_by, nullptr, nullptr, length, pieces, {sums, columns, columns % 4 == 0}, false, stream);
    launch("reduce", add_pieces_kernel, dim3(blocks(columns, kWarp)), kThreads, kShared, stream, sums, pieces, a.y.as<float>(), a.accumulate, columns);
  });
}

void run(const SegmentReduceArgs& args, Run& r) {
  on_device(args, r, [](const SegmentReduceArgs& a, Stream& stream) {
    sum("segment_reduce", a.x, a.scale_by, a.scale_rows.as<const int32_t>(), a.offsets.as<const int32_t>(), 0, a.offsets.shape[0] - 1, rows_of(a.y), a.accumulate,
        stream);
  });
}

}  // namespace hf::cuda
