#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const SumOfSquaresArgs& a, Run&) {
  double sum = 0;
  for (int64_t i = 0; i < a.x.shape[0]; ++i) {
    const double x = a.x.as<Real>()[i];
    sum += x * x;
  }
  double& y = *a.y.as<double>();
  y = a.accumulate ? y + sum : sum;
}

HF_REFERENCE(SumOfSquaresArgs)

}  // namespace hf::reference
