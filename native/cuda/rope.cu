// Rotary embedding in place. A thread owns one pair (x[i], x[i + F]) of one head, a block 256 of them. No shared memory. Memory bound: 8 bytes a number; the angle is float64, as in the contract, about 60 operations a pair.
#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

struct Heads {
  float* data;
  int64_t step, head_step;
};

HF_KERNEL __launch_bounds__(kThreads) rope_kernel(Heads x, const int32_t* positions, const double* inv_freq, int64_t rows, int64_t heads, int64_t pairs,
                                                  double scale, double sign) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= rows * heads * pairs) return;
  const int64_t item = i % pairs, head = i / pairs % heads, n = i / pairs / heads;
  float* p = x.data + n * x.step + head * x.head_step;
  double sine, cosine;
  sincos(sign * positions[n] * inv_freq[item], &sine, &cosine);
  const float c = static_cast<float>(scale * cosine), s = static_cast<float>(scale * sine);
  const float a = p[item], b = p[item + pairs];
  p[item] = a * c - b * s;
  p[item + pairs] = b * c + a * s;
}

}  // namespace

void run(const RopeArgs& args, Run& r) {
  on_device(args, r, [](const RopeArgs& a, Stream& stream) {
    const int64_t pairs = a.inv_freq.shape[0], count = a.x.shape[0] * a.x.shape[1] * pairs;
    launch("rope", rope_kernel, dim3(blocks(count, kThreads)), kThreads, 0, stream, Heads{a.x.as<float>(), a.x.stride[0], a.x.stride[1]},
           a.positions.as<const int32_t>(), a.inv_freq.as<const double>(), a.x.shape[0], a.x.shape[1], pairs, a.scale,
           a.inverse ? -1.0 : 1.0);
  });
}

}  // namespace hf::cuda
