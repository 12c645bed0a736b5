#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const CopyArgs& a, Run&) {
  for (int64_t n = 0; n < a.x.shape[0]; ++n)
    for (int64_t h = 0; h < a.x.shape[1]; ++h) {
      const Real* x = a.x.as<Real>() + n * a.x.stride[0] + h * a.x.stride[1];
      Real* y = a.y.as<Real>() + n * a.y.stride[0] + h * a.y.stride[1];
      for (int64_t d = 0; d < a.x.shape[2]; ++d)
        y[d] = x[d];
    }
}

HF_REFERENCE(CopyArgs)

}  // namespace hf::reference
