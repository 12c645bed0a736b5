#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const KvAppendArgs& a, Run&) {
  const int64_t M = a.rows.shape[0], G = a.k.shape[1], D = a.k.shape[2];
  const auto copy = [&](const View& from, const View& to, int64_t m) {
    const int64_t row = a.rows.as<int32_t>()[m];
    const int64_t slot = a.slots.as<int32_t>()[m];
    const int64_t position = a.positions.as<int32_t>()[m];
    for (int64_t g = 0; g < G; ++g) {
      const Real* source = from.as<Real>() + row * from.stride[0] + g * from.stride[1];
      Real* target = to.as<Real>() + slot * to.stride[0] + position * to.stride[1] + g * to.stride[2];
      for (int64_t d = 0; d < D; ++d)
        target[d] = source[d];
    }
  };
  for (int64_t m = 0; m < M; ++m) {
    copy(a.k, a.cache_k, m);
    copy(a.v, a.cache_v, m);
  }
}

HF_REFERENCE(KvAppendArgs)

}  // namespace hf::reference
