#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const ReduceArgs& a, Run&) {
  const int64_t N = a.x.shape[0], C = a.x.shape[1];
  for (int64_t c = 0; c < C; ++c) {
    Real sum = 0;
    for (int64_t n = 0; n < N; ++n) {
      const Real x = a.x.as<Real>()[n * a.x.stride[0] + c];
      sum += a.scale_by ? x * a.scale_by.as<Real>()[n * a.scale_by.stride[0] + c] : x;
    }
    Real& y = a.y.as<Real>()[c];
    y = a.accumulate ? y + sum : sum;
  }
}

HF_REFERENCE(ReduceArgs)

}  // namespace hf::reference
