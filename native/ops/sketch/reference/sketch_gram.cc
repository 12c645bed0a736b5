#include <cmath>

#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"

namespace hf::reference {

template <class Real>
void run(const SketchGramArgs& args, Run&) {
  const View& x = args.sketches;
  const View& y = args.sketches2 ? args.sketches2 : args.sketches;
  const int64_t repeats = x.shape[1];
  const double t = student_t_quantile(args.confidence, double(repeats - 1));
  const auto product = [&](int64_t s1, int64_t s2, int64_t r) {
    const Real* first = x.as<Real>() + s1 * x.stride[0] + r * x.stride[1];
    const Real* second = y.as<Real>() + s2 * y.stride[0] + r * y.stride[1];
    return double(dot(first, second, x.shape[2]));
  };
  for (int64_t s1 = 0; s1 < x.shape[0]; ++s1)
    for (int64_t s2 = 0; s2 < y.shape[0]; ++s2) {
      double mean = 0;
      for (int64_t r = 0; r < repeats; ++r)
        mean += product(s1, s2, r) / double(repeats);
      double squares = 0;
      for (int64_t r = 0; r < repeats; ++r)
        squares += (product(s1, s2, r) - mean) * (product(s1, s2, r) - mean);
      args.estimate.as<double>()[s1 * args.estimate.stride[0] + s2] = mean;
      args.half_width.as<double>()[s1 * args.half_width.stride[0] + s2] =
          t * std::sqrt(squares / double(repeats - 1) / double(repeats));
    }
}

HF_REFERENCE(SketchGramArgs)

}  // namespace hf::reference
