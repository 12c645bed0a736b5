// AdamW (ops/optimizer/adamw.h) in one pass: 16 bytes read and 12 written a parameter, bound by memory. A
// task owns a block of parameters. The scalars are computed in float64. The decay is subtracted together with
// the step, so that p is rounded once and a decay below its ulp still counts.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kBlock = 1 << 15;  // parameters updated in about 30 µs

}  // namespace

void run(const AdamwArgs& a, Run& r) {
  const double correction1 = 1 - __builtin_pow(a.beta1, static_cast<double>(a.step));
  const double correction2 = 1 - __builtin_pow(a.beta2, static_cast<double>(a.step));
  const float decay = static_cast<float>(a.lr * a.weight_decay);
  const float step_size = static_cast<float>(a.lr / correction1);
  const float inverse_root = static_cast<float>(1 / __builtin_sqrt(correction2));
  const float eps = static_cast<float>(a.eps);
  const float scale = static_cast<float>(a.grad_scale);
  const float beta1 = static_cast<float>(a.beta1);
  const float rest1 = static_cast<float>((1 - a.beta1) * a.grad_scale);
  const float beta2 = static_cast<float>(a.beta2);
  const float rest2 = static_cast<float>(1 - a.beta2);
  parallel_rows(r, a.param.shape[0], 1, kBlock, [&](int64_t begin, int64_t end) {
    float* param = a.param.as<float>() + begin;
    const float* grad = a.grad.as<float>() + begin;
    float* exp_avg = a.exp_avg.as<float>() + begin;
    float* exp_avg_sq = a.exp_avg_sq.as<float>() + begin;
    each_vector(end - begin, [&](int64_t i, int64_t count) HF_BODY {
      const Floats g = load_partial(grad + i, count);
      const Floats p = load_partial(param + i, count);
      const Floats scaled = scale * g;
      const Floats m = beta1 * load_partial(exp_avg + i, count) + rest1 * g;
      const Floats v = beta2 * load_partial(exp_avg_sq + i, count) + rest2 * (scaled * scaled);
      store_partial(exp_avg + i, m, count);
      store_partial(exp_avg_sq + i, v, count);
      store_partial(param + i, p - (decay * p + step_size * m / (sqrt(v) * inverse_root + eps)), count);
    });
  });
}

}  // namespace hf::HF_ISA
