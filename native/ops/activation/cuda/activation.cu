// The nonlinearities of the MLP. A block owns 1,024 columns of two rows, a thread four columns of each, whose
// loads are under way together. No shared memory. Memory bound: 8 bytes a number forward (12 where it is
// gated, half of that in bfloat16) for about 20 operations.
#include <initializer_list>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;  // of a block
constexpr int kRows = 2;

// y and dy/dx of the pointwise function (of silu without its gate).
struct Value {
  float y, slope;
};

// kShort, here and below: the results are rounded to bfloat16, so that the chip's approximations do.
template <bool kShort>
HF_DEVICE float sigmoid(float x) {
  if constexpr (kShort)
    return reciprocal_approximate(1.0f + exp2_approximate(x * -1.44269504088896340736f));
  else
    return 1.0f / (1.0f + expf(-x));
}

// gelu with erfc to 1.5e-7 (Abramowitz and Stegun 7.1.26), on the exponential that the slope needs as well.
HF_DEVICE Value gelu_approximate(float x) {
  const float e = exp2_approximate(x * x * -0.72134752044448170368f);
  const float t = reciprocal_approximate(1.0f + 0.23164189f * fabsf(x));
  const float tail =
      0.5f * e * t *
      (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float half = x < 0 ? tail : 1.0f - tail;
  return {x * half, half + x * 0.39894228040143267794f * e};
}
// x Φ(x), with Φ by erfc, which does not cancel in the left tail.
HF_DEVICE Value gelu(float x) {
  const float half = 0.5f * erfcf(-x * 0.70710678118654752440f);
  return {x * half, half + x * 0.39894228040143267794f * expf(-0.5f * x * x)};
}
// gelu by tanh, as 1 + tanh(u) = 2 σ(2u), which does not cancel in the left tail.
template <bool kShort>
HF_DEVICE Value gelu_new(float x) {
  const float u = 0.79788456080286535588f * (x + 0.044715f * x * x * x);
  const float s = sigmoid<kShort>(2 * u);
  const float du = 0.79788456080286535588f * (1 + 3 * 0.044715f * x * x);
  return {x * s, s + x * 2 * s * (1 - s) * du};
}

template <ActivationKind kind, bool kShort>
HF_DEVICE Value evaluate(float x) {
  if constexpr (kind == ActivationKind::kGelu && kShort) {
    return gelu_approximate(x);
  } else if constexpr (kind == ActivationKind::kGelu) {
    return gelu(x);
  } else if constexpr (kind == ActivationKind::kGeluNew) {
    return gelu_new<kShort>(x);
  } else if constexpr (kind == ActivationKind::kSiluGate) {
    const float s = sigmoid<kShort>(x);
    return {x * s, s + x * s * (1 - s)};
  } else {
    return {x > 0 || x != x ? x : 0.0f, x > 0 ? 1.0f : 0.0f};  // NaN stays
  }
}

// A thread's place: column c of rows n … n + kRows − 1, as far as there are any.
struct Place {
  int64_t n, rows, c, columns;
  HF_DEVICE bool has(int r) const { return n + r < rows; }
};
HF_DEVICE Place place(int64_t rows, int64_t columns) {
  const int64_t chunks = (columns + kColumns - 1) / kColumns;
  return {int64_t(blockIdx.x) / chunks * kRows, rows,
          int64_t(blockIdx.x) % chunks * kColumns + 4 * threadIdx.x, columns};
}

// How all inputs of a kernel are read: in whole fours of one type, or in any way. It is chosen once, so that
// all loads are under way together (with_loads of rows.h says why).
enum class Access { kAny, kFloat, kBf16 };

template <int kCount>
HF_DEVICE void load(const Rows (&from)[kCount], Access access, const Place& at, Four (&to)[kCount][kRows]) {
  const auto all = [&](const auto& load) {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        if (at.has(r)) to[i][r] = load(from[i], at.n + r);
  };
  if (access == Access::kBf16)
    all([&](const Rows& x, int64_t n) { return x.load_whole<true>(n, at.c); });
  else if (access == Access::kFloat)
    all([&](const Rows& x, int64_t n) { return x.load_whole<false>(n, at.c); });
  else
    all([&](const Rows& x, int64_t n) { return x.load(n, at.c, at.columns); });
}

// body(row, i) for every number that the thread owns.
template <class Body>
HF_DEVICE void each(const Place& at, const Body& body) {
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (at.has(r)) body(r, i);
}
HF_DEVICE void store(const Rows& to, const Place& at, const Four (&x)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    if (at.has(r)) to.store(at.n + r, at.c, at.columns, x[r]);
}

template <ActivationKind kind>
constexpr bool kGated = kind == ActivationKind::kSiluGate;

template <ActivationKind kind, bool kShort>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Access access, Rows x, Rows up, Rows y, int64_t rows, int64_t columns) {
  const Place at = place(rows, columns);
  if (at.c >= columns) return;
  Four out[kRows];
  if constexpr (kGated<kind>) {
    Four in[2][kRows];
    load({x, up}, access, at, in);
    each(at, [&](int r, int i) { out[r].v[i] = evaluate<kind, kShort>(in[0][r].v[i]).y * in[1][r].v[i]; });
  } else {
    Four in[1][kRows];
    load({x}, access, at, in);
    each(at, [&](int r, int i) { out[r].v[i] = evaluate<kind, kShort>(in[0][r].v[i]).y; });
  }
  store(y, at, out);
}

template <ActivationKind kind, bool kShort>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Access access, Rows x, Rows up, Rows d_y, Rows d_x, Rows d_up, int64_t rows,
                    int64_t columns) {
  const Place at = place(rows, columns);
  if (at.c >= columns) return;
  Four dx[kRows];
  if constexpr (kGated<kind>) {
    Four in[3][kRows], du[kRows];
    load({x, d_y, up}, access, at, in);
    each(at, [&](int r, int i) {
      const Value f = evaluate<kind, kShort>(in[0][r].v[i]);
      const float d = in[1][r].v[i];
      dx[r].v[i] = d * in[2][r].v[i] * f.slope;
      du[r].v[i] = d * f.y;
    });
    store(d_up, at, du);
  } else {
    Four in[2][kRows];
    load({x, d_y}, access, at, in);
    each(at, [&](int r, int i) { dx[r].v[i] = in[1][r].v[i] * evaluate<kind, kShort>(in[0][r].v[i]).slope; });
  }
  store(d_x, at, dx);
}

template <ActivationKind kind>
__global__ void __launch_bounds__(kThreads)
    jvp_kernel(Access access, Rows x, Rows up, Rows t_x, Rows t_up, Rows t_y, int64_t rows, int64_t columns) {
  const Place at = place(rows, columns);
  if (at.c >= columns) return;
  Four out[kRows];
  if constexpr (kGated<kind>) {
    Four in[4][kRows];
    load({x, t_x, up, t_up}, access, at, in);
    each(at, [&](int r, int i) {
      const Value f = evaluate<kind, false>(in[0][r].v[i]);
      out[r].v[i] = in[1][r].v[i] * in[2][r].v[i] * f.slope + f.y * in[3][r].v[i];
    });
  } else {
    Four in[2][kRows];
    load({x, t_x}, access, at, in);
    each(at, [&](int r, int i) { out[r].v[i] = in[1][r].v[i] * evaluate<kind, false>(in[0][r].v[i]).slope; });
  }
  store(t_y, at, out);
}

Access access_of(std::initializer_list<Rows> inputs, int64_t columns) {
  bool whole = columns % 4 == 0;
  bool floats = true;
  bool bf16 = true;
  for (const Rows& x : inputs)
    if (x.data) {
      whole = whole && x.aligned;
      floats = floats && !x.bf16;
      bf16 = bf16 && x.bf16;
    }
  if (whole && floats) return Access::kFloat;
  return whole && bf16 ? Access::kBf16 : Access::kAny;
}

// body(tag) with tag.kind and tag.is_short known when it is compiled.
template <ActivationKind k, bool s>
struct Tag {
  static constexpr ActivationKind kind = k;
  static constexpr bool is_short = s;
};
template <bool kShort, class Body>
void with_kind(ActivationKind kind, const Body& body) {
  switch (kind) {
    case ActivationKind::kGelu: return body(Tag<ActivationKind::kGelu, kShort>{});
    case ActivationKind::kGeluNew: return body(Tag<ActivationKind::kGeluNew, kShort>{});
    case ActivationKind::kSiluGate: return body(Tag<ActivationKind::kSiluGate, kShort>{});
    case ActivationKind::kRelu: return body(Tag<ActivationKind::kRelu, kShort>{});
  }
}
template <class Body>
void with_kind(ActivationKind kind, const View& result, const Body& body) {
  if (result.dtype == DType::kBF16)
    with_kind<true>(kind, body);
  else
    with_kind<false>(kind, body);
}
dim3 grid_of(const View& x) {
  return dim3(blocks(x.shape[0], kRows) * blocks(x.shape[1], kColumns));
}

}  // namespace

void run(const ActivationArgs& args, Run& r) {
  on_device(args, r, [](const ActivationArgs& a, Stream& stream) {
    const Rows x = rows_of(a.x), up = rows_of(a.up);
    with_kind(a.kind, a.y, [&](auto tag) {
      launch("activation", forward_kernel<tag.kind, tag.is_short>, grid_of(a.x), kThreads, 0, stream,
             access_of({x, up}, a.x.shape[1]), x, up, rows_of(a.y), a.x.shape[0], a.x.shape[1]);
    });
  });
}
void run(const ActivationBackwardArgs& args, Run& r) {
  on_device(args, r, [](const ActivationBackwardArgs& a, Stream& stream) {
    const Rows x = rows_of(a.x), up = rows_of(a.up), d_y = rows_of(a.d_y);
    with_kind(a.kind, a.d_x, [&](auto tag) {
      launch("activation_backward", backward_kernel<tag.kind, tag.is_short>, grid_of(a.x), kThreads, 0,
             stream, access_of({x, up, d_y}, a.x.shape[1]), x, up, d_y, rows_of(a.d_x), rows_of(a.d_up),
             a.x.shape[0], a.x.shape[1]);
    });
  });
}
void run(const ActivationJvpArgs& args, Run& r) {
  on_device(args, r, [](const ActivationJvpArgs& a, Stream& stream) {
    const Rows x = rows_of(a.x), up = rows_of(a.up), t_x = rows_of(a.t_x), t_up = rows_of(a.t_up);
    with_kind<false>(a.kind, [&](auto tag) {
      launch("activation_jvp", jvp_kernel<tag.kind>, grid_of(a.x), kThreads, 0, stream,
             access_of({x, up, t_x, t_up}, a.x.shape[1]), x, up, t_x, t_up, rows_of(a.t_y), a.x.shape[0],
             a.x.shape[1]);
    });
  });
}

}  // namespace hf::cuda
