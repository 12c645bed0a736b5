// Layer and RMS norm (ops/norm/norm.h). A task owns a block of rows and takes a row at a time: a row of usual
// width stays in the L1 cache between its passes, so memory is read once. The variance is that of x − m
// around a first estimate m of the mean, corrected by what x − m still averages to: rows with a mean far from
// zero keep their digits.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;  // numbers normalised in about 30 µs

// Means over a row of v and of v², or of g and of g ∘ x̂.
struct Moments {
  float first;
  float second;
};

// Means over a row of v = load(c, count), which is 0 in lanes beyond count.
template <class Load>
HF_INLINE Moments moments(int64_t C, const Load& load) {
  Floats first[2] = {};
  Floats second[2] = {};
  int64_t c = 0;
  for (; c + 2 * kLanes <= C; c += 2 * kLanes) {
    const Floats u = load(c, int64_t{kLanes});
    const Floats v = load(c + kLanes, int64_t{kLanes});
    first[0] += u;
    first[1] += v;
    second[0] += u * u;
    second[1] += v * v;
  }
  for (; c < C; c += kLanes) {
    const Floats u = load(c, C - c);
    first[0] += u;
    second[0] += u * u;
  }
  const float n = static_cast<float>(C);
  return {sum(first[0] + first[1]) / n, sum(second[0] + second[1]) / n};
}

// Means over a row of g and g ∘ x̂, from load_g(c, count) and load_x_hat(c, count); g is 0 in lanes beyond
// count.
template <class LoadG, class LoadXHat>
HF_INLINE Moments products(int64_t C, const LoadG& load_g, const LoadXHat& load_x_hat) {
  Floats first[2] = {};
  Floats second[2] = {};
  int64_t c = 0;
  for (; c + 2 * kLanes <= C; c += 2 * kLanes) {
    const Floats u = load_g(c, int64_t{kLanes});
    const Floats v = load_g(c + kLanes, int64_t{kLanes});
    first[0] += u;
    first[1] += v;
    second[0] += u * load_x_hat(c, int64_t{kLanes});
    second[1] += v * load_x_hat(c + kLanes, int64_t{kLanes});
  }
  for (; c < C; c += kLanes) {
    const Floats u = load_g(c, C - c);
    first[0] += u;
    second[0] += u * load_x_hat(c, C - c);
  }
  const float n = static_cast<float>(C);
  return {sum(first[0] + first[1]) / n, sum(second[0] + second[1]) / n};
}

float mean_of(const float* x, int64_t C) {
  Floats total[4] = {};
  int64_t c = 0;
  for (; c + 4 * kLanes <= C; c += 4 * kLanes)
    for (int i = 0; i < 4; ++i)
      total[i] += load(x + c + i * kLanes);
  for (; c < C; c += kLanes)
    total[0] += load_partial(x + c, C - c);
  return sum((total[0] + total[1]) + (total[2] + total[3])) / static_cast<float>(C);
}

}  // namespace

void run(const NormArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  const float* gain = a.gain.as<float>();
  const float* bias = a.bias.as<float>();
  const bool layer = a.kind == NormKind::kLayer;
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = a.x.as<float>() + n * a.x.stride[0];
      float* y = a.y.as<float>() + n * a.y.stride[0];
      const float m = layer ? mean_of(x, C) : 0;
      const Moments centred =
          moments(C, [&](int64_t c, int64_t count) HF_BODY { return load_partial(x + c, count, m) - m; });
      const float rest = layer ? centred.first : 0;
      const float variance = centred.second - rest * rest;
      const float rstd = 1 / __builtin_sqrtf((variance < 0 ? 0 : variance) + static_cast<float>(a.eps));
      if (bias)
        each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
          const Floats x_hat = ((load_partial(x + c, count) - m) - rest) * rstd;
          store_partial(y + c, load_partial(gain + c, count) * x_hat + load_partial(bias + c, count), count);
        });
      else
        each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
          const Floats x_hat = ((load_partial(x + c, count) - m) - rest) * rstd;
          store_partial(y + c, load_partial(gain + c, count) * x_hat, count);
        });
      if (a.mean) a.mean.as<float>()[n] = m + rest;
      if (a.rstd) a.rstd.as<float>()[n] = rstd;
    }
  });
}

void run(const NormBackwardArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  const float* gain = a.gain.as<float>();
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = a.x.as<float>() + n * a.x.stride[0];
      const float* d_y = a.d_y.as<float>() + n * a.d_y.stride[0];
      const float mean = a.mean.as<float>()[n];
      const float rstd = a.rstd.as<float>()[n];
      const auto x_hat = [&](int64_t c, int64_t count)
                             HF_BODY { return (load_partial(x + c, count) - mean) * rstd; };
      const auto g = [&](int64_t c, int64_t count)
                         HF_BODY { return load_partial(gain + c, count) * load_partial(d_y + c, count); };
      if (a.x_hat) {
        float* out = a.x_hat.as<float>() + n * a.x_hat.stride[0];
        each_vector(
            C, [&](int64_t c, int64_t count) HF_BODY { store_partial(out + c, x_hat(c, count), count); });
      }
      if (!a.d_x) continue;
      float* d_x = a.d_x.as<float>() + n * a.d_x.stride[0];
      const Moments means = products(C, g, x_hat);
      const float mean_g = a.kind == NormKind::kLayer ? means.first : 0;
      if (a.add_to_d_x)
        each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
          const Floats centred = g(c, count) - mean_g - x_hat(c, count) * means.second;
          store_partial(d_x + c, load_partial(d_x + c, count) + rstd * centred, count);
        });
      else
        each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
          const Floats centred = g(c, count) - mean_g - x_hat(c, count) * means.second;
          store_partial(d_x + c, rstd * centred, count);
        });
    }
  });
}

void run(const NormJvpArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  const float* gain = a.gain.as<float>();
  const float* t_gain = a.t_gain.as<float>();
  const float* t_bias = a.t_bias.as<float>();
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = a.x.as<float>() + n * a.x.stride[0];
      const float* t_x = a.t_x ? a.t_x.as<float>() + n * a.t_x.stride[0] : nullptr;
      float* t_y = a.t_y.as<float>() + n * a.t_y.stride[0];
      const float mean = a.mean.as<float>()[n];
      const float rstd = a.rstd.as<float>()[n];
      const auto x_hat = [&](int64_t c, int64_t count)
                             HF_BODY { return (load_partial(x + c, count) - mean) * rstd; };
      Moments means = {};
      if (t_x)
        means = products(C, [&](int64_t c, int64_t count) HF_BODY { return load_partial(t_x + c, count); },
                         x_hat);
      const float mean_t = a.kind == NormKind::kLayer ? means.first : 0;
      each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
        const Floats normalised = x_hat(c, count);
        Floats y = zero();
        if (t_x)
          y = load_partial(gain + c, count) *
              (rstd * (load_partial(t_x + c, count) - mean_t - normalised * means.second));
        if (t_gain) y += load_partial(t_gain + c, count) * normalised;
        if (t_bias) y += load_partial(t_bias + c, count);
        store_partial(t_y + c, y, count);
      });
    }
  });
}

}  // namespace hf::HF_ISA
