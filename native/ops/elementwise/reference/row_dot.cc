#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const RowDotArgs& a, Run&) {
  for (int64_t n = 0; n < a.x.shape[0]; ++n) {
    const Real* x = a.x.as<Real>() + n * a.x.stride[0];
    const Real* w = a.w.as<Real>() + n * a.w.stride[0];
    double sum = 0;
    for (int64_t c = 0; c < a.x.shape[1]; ++c)
      sum += double(x[c]) * double(w[c]);
    double& y = a.y.as<double>()[n];
    y = a.accumulate ? y + sum : sum;
  }
}

HF_REFERENCE(RowDotArgs)

}  // namespace hf::reference
