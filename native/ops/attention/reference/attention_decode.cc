#include <cmath>
#include <vector>

#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const AttentionDecodeArgs& a, Run&) {
  const int64_t B = a.q.shape[0], H = a.q.shape[1], D = a.q.shape[2];
  const int64_t per_group = H / a.cache_k.shape[2];
  const Real scale = static_cast<Real>(a.scale);
  std::vector<Real> p(a.cache_k.shape[1]);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      const int64_t slot = a.slots.as<int32_t>()[b];
      const int64_t length = a.lengths.as<int32_t>()[b];
      const int64_t g = h / per_group;
      const Real* q = a.q.as<Real>() + b * a.q.stride[0] + h * a.q.stride[1];
      const Real* k = a.cache_k.as<Real>() + slot * a.cache_k.stride[0] + g * a.cache_k.stride[2];
      const Real* v = a.cache_v.as<Real>() + slot * a.cache_v.stride[0] + g * a.cache_v.stride[2];
      Real max = -INFINITY;
      for (int64_t j = 0; j < length; ++j) {
        p[j] = 0;
        for (int64_t d = 0; d < D; ++d)
          p[j] += q[d] * k[j * a.cache_k.stride[1] + d];
        p[j] *= scale;
        max = std::fmax(max, p[j]);
      }
      Real sum = 0;
      for (int64_t j = 0; j < length; ++j) {
        p[j] = std::exp(p[j] - max);
        sum += p[j];
      }
      Real* y = a.y.as<Real>() + b * a.y.stride[0] + h * a.y.stride[1];
      for (int64_t d = 0; d < D; ++d) {
        y[d] = 0;
        for (int64_t j = 0; j < length; ++j)
          y[d] += p[j] * v[j * a.cache_v.stride[1] + d];
        y[d] /= sum;
      }
    }
}

HF_REFERENCE(AttentionDecodeArgs)

}  // namespace hf::reference
