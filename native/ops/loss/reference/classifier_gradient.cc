#include <cmath>

#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const ClassifierGradientArgs& a, Run&) {
  const View& out = a.g ? a.g : a.z;
  for (int64_t n = 0; n < a.z.shape[0]; ++n) {
    const int64_t target = a.targets.as<int32_t>()[n] - a.first_id;
    for (int64_t v = 0; v < a.z.shape[1]; ++v) {
      const Real z = a.z.as<Real>()[n * a.z.stride[0] + v];
      const Real is_target = v == target ? 1 : 0;
      const Real g = a.lse ? is_target - std::exp(z - a.lse.as<Real>()[n]) : is_target;
      out.as<Real>()[n * out.stride[0] + v] = a.scale ? a.scale.as<Real>()[n] * g : g;
    }
  }
}

HF_REFERENCE(ClassifierGradientArgs)

}  // namespace hf::reference
