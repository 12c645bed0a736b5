// Inner products of rows in float64 (ops/elementwise/row_dot.h). Bound by memory: a task owns a block of
// rows.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 15;  // products in about 30 µs

}  // namespace

void run(const RowDotArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* x = a.x.as<float>() + n * a.x.stride[0];
      const float* w = a.w.as<float>() + n * a.w.stride[0];
      Doubles low = {};
      Doubles high = {};
      each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
        const Floats p = load_partial(x + c, count);
        const Floats q = load_partial(w + c, count);
        low += widen_low(p) * widen_low(q);
        high += widen_high(p) * widen_high(q);
      });
      double& y = a.y.as<double>()[n];
      y = a.accumulate ? y + sum(low + high) : sum(low + high);
    }
  });
}

}  // namespace hf::HF_ISA
