// The inner product of every row of x with the row of w beside it, in float64. A warp owns a row, a lane four
// of every 128 columns. No shared memory. Memory bound: 8 bytes a column for two operations.
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

HF_KERNEL __launch_bounds__(kThreads)
    dot_kernel(Rows x, Rows w, double* y, bool accumulate, int64_t rows, int64_t columns) {
  const int64_t n = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (n >= rows) return;
  double sum = 0;
  for (int64_t c = 4 * (threadIdx.x % kWarp); c < columns; c += 4 * kWarp) {
    const Four a = x.load(n, c, columns), b = w.load(n, c, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      sum += double(a.v[i]) * double(b.v[i]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) y[n] = accumulate ? y[n] + sum : sum;
}

}  // namespace

void run(const RowDotArgs& args, Run& r) {
  on_device(args, r, [](const RowDotArgs& a, Stream& stream) {
    launch("row_dot", dot_kernel, dim3(blocks(a.x.shape[0], kThreads / kWarp)), kThreads, 0, stream,
           rows_of(a.x), rows_of(a.w), a.y.as<double>(), a.accumulate, a.x.shape[0], a.x.shape[1]);
  });
}

}  // namespace hf::cuda
