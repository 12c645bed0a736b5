// Multiplies every row by a number of its own, in place. A thread owns four columns of a row, a block 1,024.
// No shared memory. Memory bound: 8 bytes a number for one operation.
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;  // of a block

HF_KERNEL __launch_bounds__(kThreads)
    scale_kernel(Rows x, const float* scale, int64_t columns, int64_t chunks) {
  const int64_t n = blockIdx.x / chunks, c = blockIdx.x % chunks * kColumns + 4 * threadIdx.x;
  if (c >= columns) return;
  Four a = x.load(n, c, columns);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    a.v[i] *= scale[n];
  x.store(n, c, columns, a);
}

}  // namespace

void run(const ScaleRowsArgs& args, Run& r) {
  on_device(args, r, [](const ScaleRowsArgs& a, Stream& stream) {
    const int64_t chunks = blocks(a.x.shape[1], kColumns);
    launch("scale_rows", scale_kernel, dim3(unsigned(a.x.shape[0] * chunks)), kThreads, 0, stream,
           rows_of(a.x), a.scale.as<const float>(), a.x.shape[1], chunks);
  });
}

}  // namespace hf::cuda
