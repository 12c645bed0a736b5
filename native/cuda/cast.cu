// bf16_copy: a thread owns eight numbers of a row, a block 256 such. No shared memory. Memory bound: 6 bytes a number.
#include "cuda/cast.h"

#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kEight = 8;  // numbers of one 16-byte store

HF_KERNEL __launch_bounds__(kThreads) cast_kernel(Rows x, uint4* y, int64_t columns, int64_t chunks, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t n = i / chunks, c = i % chunks * kEight;
  const Four low = x.load(n, c, columns), high = x.load(n, c + 4, columns);
  y[i] = make_uint4(to_bf16x2(low.v[0], low.v[1]), to_bf16x2(low.v[2], low.v[3]), to_bf16x2(high.v[0], high.v[1]), to_bf16x2(high.v[2], high.v[3]));
}

}  // namespace

View bf16_copy(const View& v, Run& run) {
  if (v.dtype == DType::kBF16) return v;
  const bool by_rows = contiguous_rows(v);
  const View x = by_rows ? v : v.transposed();
  const int64_t chunks = blocks(x.shape[1], kEight), count = x.shape[0] * chunks;
  View copy = x;
  copy.dtype = DType::kBF16, copy.stride[0] = kEight * chunks, copy.stride[1] = 1;
  copy.data = device_scratch<uint4>(run, count);
  launch("bf16_copy", cast_kernel, dim3(blocks(count, kThreads)), kThreads, 0, stream_of(run), rows_of(x), copy.as<uint4>(), x.shape[1], chunks, count);
  return by_rows ? copy : copy.transposed();
}

}  // namespace hf::cuda
