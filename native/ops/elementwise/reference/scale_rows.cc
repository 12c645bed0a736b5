#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const ScaleRowsArgs& a, Run&) {
  for (int64_t n = 0; n < a.x.shape[0]; ++n)
    for (int64_t c = 0; c < a.x.shape[1]; ++c)
      a.x.as<Real>()[n * a.x.stride[0] + c] *= a.scale.as<Real>()[n];
}

HF_REFERENCE(ScaleRowsArgs)

}  // namespace hf::reference
