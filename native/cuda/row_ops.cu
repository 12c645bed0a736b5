// copy, scale_rows and classifier_gradient: a thread owns one number (copy) or four columns of a row, a block 256 such. row_dot: a warp owns a row. No shared
// memory. Memory bound: 8 bytes a number for at most a dozen operations.
#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;

struct Heads {
  void* data;
  int64_t step, head_step;
  bool bf16;
};
Heads heads_of(const View& v) { return {v.data, v.stride[0], v.stride[1], v.dtype == DType::kBF16}; }

HF_KERNEL __launch_bounds__(kThreads) copy_kernel(Heads x, Heads y, int64_t heads, int64_t dims, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t d = i % dims, h = i / dims % heads, n = i / dims / heads;
  const int64_t from = n * x.step + h * x.head_step + d, to = n * y.step + h * y.head_step + d;
  const float value = x.bf16 ? from_bf16(static_cast<const uint16_t*>(x.data)[from]) : static_cast<const float*>(x.data)[from];
  if (y.bf16) static_cast<uint16_t*>(y.data)[to] = uint16_t(to_bf16x2(value, 0.0f));
  else static_cast<float*>(y.data)[to] = value;
}

HF_KERNEL __launch_bounds__(kThreads) scale_kernel(Rows x, const float* scale, int64_t columns, int64_t chunks) {
  const int64_t n = blockIdx.x / chunks, c = blockIdx.x % chunks * kColumns + 4 * threadIdx.x;
  if (c >= columns) return;
  Four a = x.load(n, c, columns);
#pragma unroll
  for (int i = 0; i < 4; ++i) a.v[i] *= scale[n];
  x.store(n, c, columns, a);
}

HF_KERNEL __launch_bounds__(kThreads)
    gradient_kernel(Rows z, const float* lse, const int32_t* targets, const float* scale, int64_t first_id, int64_t columns, int64_t chunks) {
  const int64_t n = blockIdx.x / chunks, c = blockIdx.x % chunks * kColumns + 4 * threadIdx.x;
  if (c >= columns) return;
  const int64_t target = targets[n] - first_id;
  Four a = {{0, 0, 0, 0}};
  if (lse) a = z.load(n, c, columns);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float g = c + i == target ? 1.0f : 0.0f;
    if (lse) g -= expf(a.v[i] - lse[n]);
    a.v[i] = scale ? scale[n] * g : g;
  }
  z.store(n, c, columns, a);
}

HF_KERNEL __launch_bounds__(kThreads) dot_kernel(Rows x, Rows w, double* y, bool accumulate, int64_t rows, int64_t columns) {
  const int64_t n = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (n >= rows) return;
  double sum = 0;
  for (int64_t c = 4 * (threadIdx.x % kWarp); c < columns; c += 4 * kWarp) {
    const Four a = x.load(n, c, columns), b = w.load(n, c, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += double(a.v[i]) * double(b.v[i]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) y[n] = accumulate ? y[n] + sum : sum;
}

dim3 row_grid(const View& x, int64_t chunks) { return dim3(unsigned(x.shape[0] * chunks)); }

}  // namespace

void run(const CopyArgs& args, Run& r) {
  on_device(args, r, [](const CopyArgs& a, Stream& stream) {
    launch("copy", copy_kernel, dim3(blocks(a.x.size(), kThreads)), kThreads, 0, stream, heads_of(a.x), heads_of(a.y), a.x.shape[1], a.x.shape[2], a.x.size());
  });
}
void run(const ScaleRowsArgs& args, Run& r) {
  on_device(args, r, [](const ScaleRowsArgs& a, Stream& stream) {
    const int64_t chunks = blocks(a.x.shape[1], kColumns);
    launch("scale_rows", scale_kernel, row_grid(a.x, chunks), kThreads, 0, stream, rows_of(a.x), a.scale.as<const float>(), a.x.shape[1], chunks);
  });
}
void run(const ClassifierGradientArgs& args, Run& r) {
  on_device(args, r, [](const ClassifierGradientArgs& a, Stream& stream) {
    const int64_t chunks = blocks(a.z.shape[1], kColumns);
    launch("classifier_gradient", gradient_kernel, row_grid(a.z, chunks), kThreads, 0, stream, rows_of(a.z), a.lse.as<const float>(), a.targets.as<const int32_t>(),
           a.scale.as<const float>(), a.first_id, a.z.shape[1], chunks);
  });
}
void run(const RowDotArgs& args, Run& r) {
  on_device(args, r, [](const RowDotArgs& a, Stream& stream) {
    launch("row_dot", dot_kernel, dim3(blocks(a.x.shape[0], kThreads / kWarp)), kThreads, 0, stream, rows_of(a.x), rows_of(a.w), a.y.as<double>(), a.accumulate,
           a.x.shape[0], a.x.shape[1]);
  });
}

}  // namespace hf::cuda
