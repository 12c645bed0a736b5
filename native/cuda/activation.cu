// MLP nonlinearities. A block owns 1,024 columns of one row, a thread 4 of them. No shared memory. Memory bound: 8 bytes a number forward
// (12 gated) for about 20 operations, against 184 operations a byte-pair that the chip could do in that time.
#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;

struct Value { float y, slope; };

HF_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// y and dy/dx of the pointwise function (silu without its gate). `short_result`: it is rounded to bfloat16.
HF_DEVICE Value evaluate(ActivationKind kind, float x, bool short_result) {
  switch (kind) {
    case ActivationKind::kGelu: {
      if (short_result) {  // erfc to 1.5e-7 (Abramowitz and Stegun 7.1.26), on the exponential that the slope needs as well: a third of the instructions
        const float e = exp2f(x * x * -0.72134752044448170368f), t = 1.0f / (1.0f + 0.23164189f * fabsf(x));
        const float tail = 0.5f * e * t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
        const float half = x < 0 ? tail : 1.0f - tail;
        return {x * half, half + x * 0.39894228040143267794f * e};
      }
      const float half = 0.5f * erfcf(-x * 0.70710678118654752440f);  // Φ(x) without cancellation in the left tail
      return {x * half, half + x * 0.39894228040143267794f * expf(-0.5f * x * x)};
    }
    case ActivationKind::kGeluNew: {
      // 1 + tanh(u) = 2 σ(2u), which does not cancel in the left tail.
      const float u = 0.79788456080286535588f * (x + 0.044715f * x * x * x);
      const float s = sigmoid(2 * u), du = 0.79788456080286535588f * (1 + 3 * 0.044715f * x * x);
      return {x * s, s + x * 2 * s * (1 - s) * du};
    }
    case ActivationKind::kSiluGate: {
      const float s = sigmoid(x);
      return {x * s, s + x * s * (1 - s)};
    }
    case ActivationKind::kRelu: return {x > 0 || x != x ? x : 0.0f, x > 0 ? 1.0f : 0.0f};  // NaN stays
  }
  return {0, 0};
}

struct Where { int64_t n, c; };
HF_DEVICE Where where(int64_t chunks) {
  return {int64_t(blockIdx.x) / chunks, int64_t(blockIdx.x) % chunks * kColumns + 4 * threadIdx.x};
}

HF_KERNEL __launch_bounds__(kThreads) forward_kernel(ActivationKind kind, Rows x, Rows up, Rows y, int64_t columns, int64_t chunks) {
  const Where at = where(chunks);
  if (at.c >= columns) return;
  const Four a = x.load(at.n, at.c, columns);
  Four out;
#pragma unroll
  for (int i = 0; i < 4; ++i) out.v[i] = evaluate(kind, a.v[i], y.bf16).y;
  if (up.data) {
    const Four u = up.load(at.n, at.c, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i) out.v[i] *= u.v[i];
  }
  y.store(at.n, at.c, columns, out);
}

HF_KERNEL __launch_bounds__(kThreads)
    backward_kernel(ActivationKind kind, Rows x, Rows up, Rows d_y, Rows d_x, Rows d_up, int64_t columns, int64_t chunks) {
  const Where at = where(chunks);
  if (at.c >= columns) return;
  const Four a = x.load(at.n, at.c, columns), d = d_y.load(at.n, at.c, columns);
  const Four u = up.data ? up.load(at.n, at.c, columns) : Four{{1, 1, 1, 1}};
  Four dx, du;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const Value f = evaluate(kind, a.v[i], d_x.bf16);
    dx.v[i] = d.v[i] * u.v[i] * f.slope, du.v[i] = d.v[i] * f.y;
  }
  d_x.store(at.n, at.c, columns, dx);
  if (up.data) d_up.store(at.n, at.c, columns, du);
}

HF_KERNEL __launch_bounds__(kThreads)
    jvp_kernel(ActivationKind kind, Rows x, Rows up, Rows t_x, Rows t_up, Rows t_y, int64_t columns, int64_t chunks) {
  const Where at = where(chunks);
  if (at.c >= columns) return;
  const Four a = x.load(at.n, at.c, columns), t = t_x.load(at.n, at.c, columns);
  const Four u = up.data ? up.load(at.n, at.c, columns) : Four{{1, 1, 1, 1}};
  const Four tu = up.data ? t_up.load(at.n, at.c, columns) : Four{{0, 0, 0, 0}};
  Four out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const Value f = evaluate(kind, a.v[i], false);
    out.v[i] = t.v[i] * u.v[i] * f.slope + f.y * tu.v[i];
  }
  t_y.store(at.n, at.c, columns, out);
}

int64_t chunks_of(const View& x) { return blocks(x.shape[1], kColumns); }

}  // namespace

void run(const ActivationArgs& args, Run& r) {
  on_device(args, r, [](const ActivationArgs& a, Stream& stream) {
    const int64_t chunks = chunks_of(a.x);
    launch("activation", forward_kernel, dim3(unsigned(a.x.shape[0] * chunks)), kThreads, 0, stream, a.kind, rows_of(a.x), rows_of(a.up), rows_of(a.y),
           a.x.shape[1], chunks);
  });
}
void run(const ActivationBackwardArgs& args, Run& r) {
  on_device(args, r, [](const ActivationBackwardArgs& a, Stream& stream) {
    const int64_t chunks = chunks_of(a.x);
    launch("activation_backward", backward_kernel, dim3(unsigned(a.x.shape[0] * chunks)), kThreads, 0, stream, a.kind, rows_of(a.x), rows_of(a.up),
           rows_of(a.d_y), rows_of(a.d_x), rows_of(a.d_up), a.x.shape[1], chunks);
  });
}
void run(const ActivationJvpArgs& args, Run& r) {
  on_device(args, r, [](const ActivationJvpArgs& a, Stream& stream) {
    const int64_t chunks = chunks_of(a.x);
    launch("activation_jvp", jvp_kernel, dim3(unsigned(a.x.shape[0] * chunks)), kThreads, 0, stream, a.kind, rows_of(a.x), rows_of(a.up), rows_of(a.t_x),
           rows_of(a.t_up), rows_of(a.t_y), a.x.shape[1], chunks);
  });
}

}  // namespace hf::cuda
