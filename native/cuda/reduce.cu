// Sums over rows, all or function by function. A thread owns one column of a piece of rows, so a warp reads 128 consecutive bytes of every row.
//   reduce: pieces of 64 rows go to scratch memory, a second kernel adds the pieces in order. segment_reduce: the piece is a function.
// No shared memory, no atomics. Memory bound: 4 bytes a number (8 with a factor) for 1 or 2 operations.
#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int64_t kPiece = 64;

// out[piece, c] (+)= Σ over the piece's rows; piece p has rows offsets[p] … offsets[p + 1] − 1, or kPiece of `rows` each.
HF_KERNEL __launch_bounds__(kThreads) sum_kernel(Rows x, Rows scale_by, const int32_t* scale_rows, const int32_t* offsets, int64_t rows, Rows out,
                                                 bool accumulate, int64_t columns) {
  const int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x, piece = blockIdx.y + int64_t(blockIdx.z) * gridDim.y;
  const int64_t pieces = offsets ? rows : (rows + kPiece - 1) / kPiece;
  if (c >= columns || piece >= pieces) return;
  const int64_t begin = offsets ? offsets[piece] : piece * kPiece;
  const int64_t end = offsets ? offsets[piece + 1] : (begin + kPiece < rows ? begin + kPiece : rows);
  float sum = 0;
  for (int64_t n = begin; n < end; ++n) {
    const float value = x.at(n, c);
    sum += scale_by.data ? value * scale_by.row(scale_rows ? scale_rows[n] : n)[c] : value;
  }
  float* y = out.row(piece) + c;
  *y = accumulate ? *y + sum : sum;
}

HF_KERNEL __launch_bounds__(kThreads) add_pieces_kernel(const float* pieces, int64_t count, float* y, bool accumulate, int64_t columns) {
  const int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= columns) return;
  float sum = 0;
  for (int64_t p = 0; p < count; ++p) sum += pieces[p * columns + c];
  y[c] = accumulate ? y[c] + sum : sum;
}

// Pieces over y and z of the grid, which go up to 65,535 each.
dim3 grid_of(int64_t columns, int64_t pieces) {
  const int64_t y = pieces < 32768 ? pieces : 32768;
  return dim3(blocks(columns, kThreads), unsigned(y), y ? blocks(pieces, y) : 0);
}

}  // namespace

void run(const ReduceArgs& args, Run& r) {
  on_device(args, r, [&](const ReduceArgs& a, Stream& stream) {
    const int64_t rows = a.x.shape[0], columns = a.x.shape[1], pieces = (rows + kPiece - 1) / kPiece;
    float* sums = device_scratch<float>(r, pieces * columns);
    launch("reduce", sum_kernel, grid_of(columns, pieces), kThreads, 0, stream, rows_of(a.x), rows_of(a.scale_by), static_cast<const int32_t*>(nullptr),
           static_cast<const int32_t*>(nullptr), rows, Rows{sums, columns, false}, false, columns);
    launch("reduce", add_pieces_kernel, dim3(blocks(columns, kThreads)), kThreads, 0, stream, sums, pieces, a.y.as<float>(), a.accumulate, columns);
  });
}

void run(const SegmentReduceArgs& args, Run& r) {
  on_device(args, r, [](const SegmentReduceArgs& a, Stream& stream) {
    const int64_t functions = a.offsets.shape[0] - 1, columns = a.x.shape[1];
    launch("segment_reduce", sum_kernel, grid_of(columns, functions), kThreads, 0, stream, rows_of(a.x), rows_of(a.scale_by), a.scale_rows.as<const int32_t>(),
           a.offsets.as<const int32_t>(), functions, rows_of(a.y), a.accumulate, columns);
  });
}

}  // namespace hf::cuda
