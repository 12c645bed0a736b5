// Pointwise nonlinearities (ops/activation/activation.h), one pass each; a task owns a block of rows.
//
// Sigmoids come from e^{−|x|}, which neither overflows nor cancels: with e = e^{−|x|} and r = 1/(1 + e), σ(x)
// is r for x ≥ 0 and e·r below, and σ(1 − σ) = e·r². gelu_new is x σ(2u), because (1 + tanh u)/2 = σ(2u): one
// exponential instead of a tanh.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 15;  // numbers in about 30 µs

// A function and its derivative at a point.
struct ValueAndSlope {
  Floats value;
  Floats slope;
};

HF_INLINE ValueAndSlope sigmoid(Floats x) {
  const Floats e = exp(-abs(x));
  const Floats r = 1.0f / (1.0f + e);
  const Floats er = e * r;
  return {select(x < 0.0f, er, r), er * r};
}

// f(x) and f′(x) of the nonlinearity alone (silu for silu_gate). What a caller does not use is not computed.
template <ActivationKind kKind>
HF_INLINE ValueAndSlope evaluate(Floats x) {
  if constexpr (kKind == ActivationKind::kGelu) {
    const Floats distribution = 0.5f * erf(x * 0.70710678f) + 0.5f;
    const Floats density = exp(-0.5f * (x * x)) * 0.39894228f;
    return {x * distribution, distribution + x * density};
  } else if constexpr (kKind == ActivationKind::kGeluNew) {
    constexpr float kTwice = 1.59576912f;  // 2 √(2/π)
    constexpr float kCubic = 0.044715f;
    const Floats square = x * x;
    const ValueAndSlope s = sigmoid(kTwice * (x * (1.0f + kCubic * square)));
    return {x * s.value, s.value + x * (s.slope * (kTwice + (3 * kTwice * kCubic) * square))};
  } else if constexpr (kKind == ActivationKind::kSiluGate) {
    const ValueAndSlope s = sigmoid(x);
    return {x * s.value, s.value + x * s.slope};
  } else {
    return {select(x < 0.0f, zero(), x), select(x > 0.0f, broadcast(1.0f), zero())};
  }
}

// Row n of a view; where the view is absent, nobody reads it.
HF_INLINE float* row(const View& v, int64_t n) {
  return v.as<float>() + n * v.stride[0];
}

template <ActivationKind kKind>
void forward(const ActivationArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = row(a.x, n);
      const float* up = row(a.up, n);
      float* y = row(a.y, n);
      each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
        Floats value = evaluate<kKind>(load_partial(x + c, count)).value;
        if constexpr (kKind == ActivationKind::kSiluGate) value *= load_partial(up + c, count);
        store_partial(y + c, value, count);
      });
    }
  });
}

template <ActivationKind kKind>
void backward(const ActivationBackwardArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = row(a.x, n);
      const float* up = row(a.up, n);
      const float* d_y = row(a.d_y, n);
      float* d_x = row(a.d_x, n);
      float* d_up = row(a.d_up, n);
      each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
        const ValueAndSlope f = evaluate<kKind>(load_partial(x + c, count));
        Floats d = load_partial(d_y + c, count);
        if constexpr (kKind == ActivationKind::kSiluGate) {
          store_partial(d_up + c, d * f.value, count);
          d *= load_partial(up + c, count);
        }
        store_partial(d_x + c, d * f.slope, count);
      });
    }
  });
}

template <ActivationKind kKind>
void jvp(const ActivationJvpArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = row(a.x, n);
      const float* up = row(a.up, n);
      const float* t_x = row(a.t_x, n);
      const float* t_up = row(a.t_up, n);
      float* t_y = row(a.t_y, n);
      each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
        const ValueAndSlope f = evaluate<kKind>(load_partial(x + c, count));
        Floats t = f.slope * load_partial(t_x + c, count);
        if constexpr (kKind == ActivationKind::kSiluGate)
          t = t * load_partial(up + c, count) + f.value * load_partial(t_up + c, count);
        store_partial(t_y + c, t, count);
      });
    }
  });
}

}  // namespace

// The instance of `function` for the args' kind.
#define HF_BY_KIND(function)                                                          \
  switch (a.kind) {                                                                   \
    case ActivationKind::kGelu: return function<ActivationKind::kGelu>(a, r);         \
    case ActivationKind::kGeluNew: return function<ActivationKind::kGeluNew>(a, r);   \
    case ActivationKind::kSiluGate: return function<ActivationKind::kSiluGate>(a, r); \
    case ActivationKind::kRelu: return function<ActivationKind::kRelu>(a, r);         \
  }
void run(const ActivationArgs& a, Run& r) {
  HF_BY_KIND(forward)
}
void run(const ActivationBackwardArgs& a, Run& r) {
  HF_BY_KIND(backward)
}
void run(const ActivationJvpArgs& a, Run& r) {
  HF_BY_KIND(jvp)
}
#undef HF_BY_KIND

}  // namespace hf::HF_ISA
