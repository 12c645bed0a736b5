// copy: a thread owns sixteen columns of a row. scale_rows and classifier_gradient: four columns of a row, a
// block 256 such. row_dot: a warp owns a row. No shared memory. Memory bound: 8 bytes a number for at most a
// dozen operations.
#include <algorithm>

#include "backends/cuda/heads.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;

constexpr int kFlight = 4;  // loads of a thread that are under way together, in copy

// 2^shift threads share a row of `columns`, cut into `chunks`; the heads are over y of the grid.
HF_KERNEL __launch_bounds__(kThreads)
    copy_kernel(Heads x, Heads y, int64_t rows, int heads, int64_t columns, unsigned chunks, int shift) {
  const int64_t n = int64_t(blockIdx.x / chunks) * (kThreads >> shift) + (threadIdx.x >> shift);
  const int64_t first =
      (int64_t(blockIdx.x % chunks) * (kFlight << shift) + (threadIdx.x & ((1u << shift) - 1))) * 4;
  if (n >= rows) return;
  for (int head = int(blockIdx.y); head < heads; head += int(gridDim.y)) {
    Four a[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      if (const int64_t c = first + (int64_t(4 * i) << shift); c < columns)
        a[i] = x.load(n, head, c, columns);
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      if (const int64_t c = first + (int64_t(4 * i) << shift); c < columns)
        y.store(n, head, c, columns, a[i]);
  }
}

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

HF_KERNEL __launch_bounds__(kThreads)
    gradient_kernel(Rows z, Rows g_rows, const float* lse, const int32_t* targets, const float* scale,
                    int64_t first_id, int64_t columns, int64_t chunks) {
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
  g_rows.store(n, c, columns, a);
}

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

dim3 row_grid(const View& x, int64_t chunks) {
  return dim3(unsigned(x.shape[0] * chunks));
}

}  // namespace

void run(const CopyArgs& args, Run& r) {
  on_device(args, r, [](const CopyArgs& a, Stream& stream) {
    // Dimensions that follow each other without a gap are one.
    int64_t rows = a.x.shape[0], heads = a.x.shape[1], columns = a.x.shape[2];
    if (heads == 1 || (a.x.stride[1] == columns && a.y.stride[1] == columns)) {
      columns *= heads;
      heads = 1;
    }
    if (heads == 1 && a.x.stride[0] == columns && a.y.stride[0] == columns) {
      columns *= rows;
      rows = 1;
    }
    const int shift = share_of_block((columns + kFlight - 1) / kFlight);
    const unsigned chunks = blocks(columns, int64_t(4 * kFlight) << shift);
    launch("copy", copy_kernel,
           dim3(blocks(rows, kThreads >> shift) * chunks, unsigned(std::min<int64_t>(heads, 65535))),
           kThreads, 0, stream, heads_of(a.x), heads_of(a.y), rows, int(heads), columns, chunks, shift);
  });
}
void run(const ScaleRowsArgs& args, Run& r) {
  on_device(args, r, [](const ScaleRowsArgs& a, Stream& stream) {
    const int64_t chunks = blocks(a.x.shape[1], kColumns);
    launch("scale_rows", scale_kernel, row_grid(a.x, chunks), kThreads, 0, stream, rows_of(a.x),
           a.scale.as<const float>(), a.x.shape[1], chunks);
  });
}
void run(const ClassifierGradientArgs& args, Run& r) {
  on_device(args, r, [](const ClassifierGradientArgs& a, Stream& stream) {
    const int64_t chunks = blocks(a.z.shape[1], kColumns);
    launch("classifier_gradient", gradient_kernel, row_grid(a.z, chunks), kThreads, 0, stream, rows_of(a.z),
           rows_of(a.g ? a.g : a.z), a.lse.as<const float>(), a.targets.as<const int32_t>(),
           a.scale.as<const float>(), a.first_id, a.z.shape[1], chunks);
  });
}
void run(const RowDotArgs& args, Run& r) {
  on_device(args, r, [](const RowDotArgs& a, Stream& stream) {
    launch("row_dot", dot_kernel, dim3(blocks(a.x.shape[0], kThreads / kWarp)), kThreads, 0, stream,
           rows_of(a.x), rows_of(a.w), a.y.as<double>(), a.accumulate, a.x.shape[0], a.x.shape[1]);
  });
}

}  // namespace hf::cuda
