#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const GemmArgs& g, Run&) {
  const int64_t M = g.c.shape[0], N = g.c.shape[1], K = g.a.shape[1];
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = g.triangle == Triangle::kUpper ? m : 0; n < N; ++n) {
      Real sum = 0;
      for (int64_t k = 0; k < K; ++k)
        sum += real_at<Real>(g.a, m, k) * real_at<Real>(g.b, k, n);
      Real value = static_cast<Real>(g.alpha) * sum;
      if (g.bias) value += g.bias.as<Real>()[n];
      if (g.residual) value += g.residual.as<Real>()[m * g.residual.stride[0] + n];
      Real& c = g.c.as<Real>()[m * g.c.stride[0] + n];
      c = g.accumulate ? c + value : value;
    }
}

// The reference does not use packed_b.
template <class Real>
void run(const GemmPackArgs&, Run&) {}

HF_REFERENCE(GemmArgs)
HF_REFERENCE(GemmPackArgs)

}  // namespace hf::reference
