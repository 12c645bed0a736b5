// Layer and RMS norm. A block owns one row; its threads step over the columns four at a time, and the row is read again for its second use
// (it is in L1 or L2 by then). Shared memory: 8 floats. Memory bound: forward 8 bytes a number for about 7 operations.
#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kStep = 4 * kThreads;
constexpr int kShared = kThreads / kWarp * sizeof(float);

HF_KERNEL __launch_bounds__(kThreads)
    forward_kernel(NormKind kind, Rows x, Rows gain, Rows bias, Rows y, float* mean_out, float* rstd_out, int64_t columns, float eps) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads / kWarp);
  const int64_t n = blockIdx.x;
  const float count = static_cast<float>(columns);
  float mean = 0;
  if (kind == NormKind::kLayer) {
    float sum = 0;
    for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
      const Four a = x.load(n, c, columns);
      sum += (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
    }
    mean = block_sum(sum, room) / count;
  }
  // Deviations from the mean rather than E x² − mean²: that cancels. Their own mean is what rounding left of the first.
  float squares = 0, rest = 0;
  for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
    const Four a = x.load(n, c, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (c + i < columns) squares += (a.v[i] - mean) * (a.v[i] - mean), rest += a.v[i] - mean;
  }
  rest = kind == NormKind::kLayer ? block_sum(rest, room) / count : 0.0f;
  const float rstd = 1.0f / sqrtf(block_sum(squares, room) / count - rest * rest + eps);
  for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
    const Four a = x.load(n, c, columns), g = gain.load(0, c, columns);
    const Four b = bias.data ? bias.load(0, c, columns) : Four{{0, 0, 0, 0}};
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i) out.v[i] = ((a.v[i] - mean) - rest) * rstd * g.v[i] + b.v[i];
    y.store(n, c, columns, out);
  }
  if (threadIdx.x == 0) {
    if (mean_out) mean_out[n] = mean + rest;
    if (rstd_out) rstd_out[n] = rstd;
  }
}

HF_KERNEL __launch_bounds__(kThreads) backward_kernel(NormKind kind, Rows x, Rows gain, const float* mean_in, const float* rstd_in, Rows d_y, Rows d_x,
                                                      Rows x_hat, bool add, int64_t columns) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads / kWarp);
  const int64_t n = blockIdx.x;
  const float mean = mean_in[n], rstd = rstd_in[n], count = static_cast<float>(columns);
  float sum = 0, product = 0;
  for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
    const Four a = x.load(n, c, columns), d = d_y.load(n, c, columns), g = gain.load(0, c, columns);
    Four hat;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      hat.v[i] = (a.v[i] - mean) * rstd;
      if (c + i < columns) sum += g.v[i] * d.v[i], product += g.v[i] * d.v[i] * hat.v[i];
    }
    if (x_hat.data) x_hat.store(n, c, columns, hat);
  }
  if (!d_x.data) return;
  const float mean_g = kind == NormKind::kLayer ? block_sum(sum, room) / count : 0.0f;
  const float mean_product = block_sum(product, room) / count;
  for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
    const Four a = x.load(n, c, columns), d = d_y.load(n, c, columns), g = gain.load(0, c, columns);
    const Four old = add ? d_x.load(n, c, columns) : Four{{0, 0, 0, 0}};
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i) out.v[i] = old.v[i] + rstd * (g.v[i] * d.v[i] - mean_g - (a.v[i] - mean) * rstd * mean_product);
    d_x.store(n, c, columns, out);
  }
}

// t_x̂ = rstd (t_x − [layer] mean(t_x) − x̂ mean(x̂ t_x)),  t_y = gain t_x̂ + t_gain x̂ + t_bias
HF_KERNEL __launch_bounds__(kThreads) jvp_kernel(NormKind kind, Rows x, Rows gain, const float* mean_in, const float* rstd_in, Rows t_x, Rows t_gain,
                                                 Rows t_bias, Rows t_y, int64_t columns) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads / kWarp);
  const int64_t n = blockIdx.x;
  const float mean = mean_in[n], rstd = rstd_in[n], count = static_cast<float>(columns);
  float sum = 0, product = 0;
  if (t_x.data)
    for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
      const Four a = x.load(n, c, columns), t = t_x.load(n, c, columns);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum += t.v[i], product += t.v[i] * (a.v[i] - mean) * rstd;  // t is 0 beyond the last column
    }
  const float mean_t = kind == NormKind::kLayer ? block_sum(sum, room) / count : 0.0f;
  const float mean_product = block_sum(product, room) / count;
  const Four none = {{0, 0, 0, 0}};
  for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
    const Four a = x.load(n, c, columns), g = gain.load(0, c, columns), t = t_x.data ? t_x.load(n, c, columns) : none;
    const Four tg = t_gain.data ? t_gain.load(0, c, columns) : none, tb = t_bias.data ? t_bias.load(0, c, columns) : none;
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float hat = (a.v[i] - mean) * rstd;
      out.v[i] = g.v[i] * rstd * (t.v[i] - mean_t - hat * mean_product) + tg.v[i] * hat + tb.v[i];
    }
    t_y.store(n, c, columns, out);
  }
}

}  // namespace

void run(const NormArgs& args, Run& r) {
  on_device(args, r, [](const NormArgs& a, Stream& stream) {
    launch("norm", forward_kernel, dim3(unsigned(a.x.shape[0])), kThreads, kShared, stream, a.kind, rows_of(a.x), rows_of(a.gain), rows_of(a.bias),
           rows_of(a.y), a.mean.as<float>(), a.rstd.as<float>(), a.x.shape[1], float(a.eps));
  });
}
void run(const NormBackwardArgs& args, Run& r) {
  on_device(args, r, [](const NormBackwardArgs& a, Stream& stream) {
    launch("norm_backward", backward_kernel, dim3(unsigned(a.x.shape[0])), kThreads, kShared, stream, a.kind, rows_of(a.x), rows_of(a.gain),
           a.mean.as<const float>(), a.rstd.as<const float>(), rows_of(a.d_y), rows_of(a.d_x), rows_of(a.x_hat), a.add_to_d_x, a.x.shape[1]);
  });
}
void run(const NormJvpArgs& args, Run& r) {
  on_device(args, r, [](const NormJvpArgs& a, Stream& stream) {
    launch("norm_jvp", jvp_kernel, dim3(unsigned(a.x.shape[0])), kThreads, kShared, stream, a.kind, rows_of(a.x), rows_of(a.gain), a.mean.as<const float>(),
           a.rstd.as<const float>(), rows_of(a.t_x), rows_of(a.t_gain), rows_of(a.t_bias), rows_of(a.t_y), a.x.shape[1]);
  });
}

}  // namespace hf::cuda
