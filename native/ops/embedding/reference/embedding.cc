#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const EmbeddingArgs& a, Run&) {
  const int64_t N = a.y.shape[0], C = a.y.shape[1];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      Real value = real_at<Real>(a.table, a.ids.as<int32_t>()[n], c);
      if (a.table2) value += a.table2.as<Real>()[a.ids2.as<int32_t>()[n] * a.table2.stride[0] + c];
      a.y.as<Real>()[n * a.y.stride[0] + c] = value;
    }
}

template <class Real>
void run(const EmbeddingBackwardArgs& a, Run&) {
  const int64_t N = a.d_y.shape[0], C = a.d_y.shape[1];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c)
      a.d_table.as<Real>()[a.ids.as<int32_t>()[n] * a.d_table.stride[0] + c] +=
          a.d_y.as<Real>()[n * a.d_y.stride[0] + c];
}

HF_REFERENCE(EmbeddingArgs)
HF_REFERENCE(EmbeddingBackwardArgs)

}  // namespace hf::reference
