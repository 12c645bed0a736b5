#include <cmath>

#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const RopeArgs& a, Run&) {
  const int64_t N = a.x.shape[0], H = a.x.shape[1], F = a.inv_freq.shape[0];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t i = 0; i < F; ++i) {
      const double angle = a.positions.as<int32_t>()[n] * a.inv_freq.as<double>()[i];
      const Real cosine = static_cast<Real>(a.scale * std::cos(angle));
      const Real sine = static_cast<Real>(a.scale * std::sin(a.inverse ? -angle : angle));
      for (int64_t h = 0; h < H; ++h) {
        Real* x = a.x.as<Real>() + n * a.x.stride[0] + h * a.x.stride[1];
        const Real first = x[i];
        const Real second = x[i + F];
        x[i] = first * cosine - second * sine;
        x[i + F] = second * cosine + first * sine;
      }
    }
}

HF_REFERENCE(RopeArgs)

}  // namespace hf::reference
