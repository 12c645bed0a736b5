// The kernel matrix that sketches estimate, with its error bar. A block owns one entry of it, a warp every
// eighth repeat of that; its lanes read K numbers of both sketches. Shared memory: 64 bytes. Bound by L2: 8
// bytes a multiply-add, S² R K of them.
#include <cmath>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

struct Sketches {
  const float* data;
  int64_t step, repeat_step;
};

HF_KERNEL __launch_bounds__(kThreads)
    estimate_kernel(Sketches x, Sketches y, int64_t columns, int64_t repeats, int64_t width, double t,
                    bool symmetric, double* products, double* estimate, int64_t estimate_step,
                    double* half_width, int64_t half_width_step) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kThreads / kWarp);
  const int64_t s = blockIdx.x / columns, u = blockIdx.x % columns;
  if (symmetric && u < s) return;
  const int lane = threadIdx.x % kWarp;
  double* mine = products + int64_t(blockIdx.x) * repeats;
  double sum = 0;
  for (int64_t r = threadIdx.x / kWarp; r < repeats; r += kThreads / kWarp) {
    const float *a = x.data + s * x.step + r * x.repeat_step, *b = y.data + u * y.step + r * y.repeat_step;
    float product = 0;
    for (int64_t k = lane; k < width; k += kWarp)
      product += a[k] * b[k];
    product = warp_sum(product);
    if (lane == 0) {
      mine[r] = double(product);
      sum += double(product);
    }
  }
  const double mean = block_sum(sum, room) / double(repeats);
  double squares = 0;
  if (lane == 0)
    for (int64_t r = threadIdx.x / kWarp; r < repeats; r += kThreads / kWarp)
      squares += (mine[r] - mean) * (mine[r] - mean);
  squares = block_sum(squares, room);
  if (threadIdx.x != 0) return;
  const double width_of_half = t * sqrt(squares / double(repeats - 1) / double(repeats));
  estimate[s * estimate_step + u] = mean;
  half_width[s * half_width_step + u] = width_of_half;
  if (symmetric) {
    estimate[u * estimate_step + s] = mean;
    half_width[u * half_width_step + s] = width_of_half;
  }
}

}  // namespace

void run(const SketchGramArgs& args, Run& r) {
  on_device(args, r, [&](const SketchGramArgs& a, Stream& stream) {
    const View &x = a.sketches, &y = a.sketches2 ? a.sketches2 : a.sketches;
    const int64_t entries = x.shape[0] * y.shape[0];
    double* products = device_scratch<double>(r, entries * x.shape[1]);
    launch("sketch_gram", estimate_kernel, dim3(unsigned(entries)), kThreads,
           int(kThreads / kWarp * sizeof(double)), stream,
           Sketches{x.as<const float>(), x.stride[0], x.stride[1]},
           Sketches{y.as<const float>(), y.stride[0], y.stride[1]}, y.shape[0], x.shape[1], x.shape[2],
           student_t_quantile(a.confidence, double(x.shape[1] - 1)), !a.sketches2, products,
           a.estimate.as<double>(), a.estimate.stride[0], a.half_width.as<double>(), a.half_width.stride[0]);
  });
}

}  // namespace hf::cuda
