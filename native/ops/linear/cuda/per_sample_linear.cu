// Per-sample gradients of a linear layer and their norms, by outer_products. Where only norms are wanted, no
// gradient is ever written. A block of the finishing kernel owns one function. Shared memory: 64 bytes.
// Memory bound: 8 bytes a tile.
#include "backends/cuda/outer_products.h"
#include "backends/cuda/rows.h"

namespace hf::cuda {
namespace {

// norms[s] (+)= Σ of its tiles' squares + Σ bias²
HF_KERNEL __launch_bounds__(kThreads) norms_kernel(const double* squares, int64_t tiles, const float* bias,
                                                   int64_t outputs, double* norms, bool accumulate) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kThreads / kWarp);
  const int64_t s = blockIdx.x;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < tiles; i += kThreads)
    sum += squares[s * tiles + i];
  if (bias)
    for (int64_t o = threadIdx.x; o < outputs; o += kThreads)
      sum += double(bias[s * outputs + o]) * double(bias[s * outputs + o]);
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) norms[s] = accumulate ? norms[s] + sum : sum;
}

}  // namespace

void run(const PerSampleLinearArgs& args, Run& r) {
  on_device(args, r, [&](const PerSampleLinearArgs& a, Stream& stream) {
    const int64_t S = a.offsets.shape[0] - 1, O = a.d.shape[1], I = a.a.shape[1], tiles = outer_tiles(O, I);
    double* squares = a.squared_norms ? device_scratch<double>(r, S * tiles) : nullptr;
    if (a.gradients || squares) {
      OuterProblem p;
      p.d = a.d;
      p.a = a.a;
      p.a_rows = a.a_rows;
      p.offsets = a.offsets;
      p.outputs = O;
      p.inputs = I;
      p.out = a.gradients.as<float>();
      p.accumulate = a.accumulate;
      p.squares = squares;
      p.function_step = a.gradients.stride[0];
      p.output_step = a.gradients.stride[1];
      p.input_step = a.gradients.stride[2];
      outer_products(p, r);
    }
    SegmentReduceArgs bias;
    bias.x = a.d;
    bias.offsets = args.offsets;
    bias.accumulate = a.accumulate;
    if (a.bias_gradients) {
      bias.y = a.bias_gradients;
      run(bias, r);
    }
    if (!squares) return;
    float* sums = nullptr;
    if (a.bias) {
      sums = device_scratch<float>(r, S * O);
      bias.y = make_view(sums, DType::kF32, S, O);
      bias.accumulate = false;
      run(bias, r);
    }
    launch("per_sample_linear", norms_kernel, dim3(unsigned(S)), kThreads,
           int(kThreads / kWarp * sizeof(double)), stream, static_cast<const double*>(squares), tiles,
           static_cast<const float*>(sums), O, a.squared_norms.as<double>(), a.accumulate);
  });
}

}  // namespace hf::cuda
