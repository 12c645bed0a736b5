#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"

namespace hf::reference {

template <class Real>
void run(const PerSampleLinearArgs& args, Run&) {
  const Pairs<Real> x = first_pairs<Real>(args);
  const View& g = args.gradients;
  const auto add = [&](Real& output, Real value) { output = args.accumulate ? output + value : value; };
  for (int64_t s = 0; s < x.functions; ++s) {
    double squares = 0;
    for (int64_t o = 0; o < x.outputs; ++o) {
      for (int64_t i = 0; i < x.inputs; ++i) {
        Real sum = 0;
        for (int64_t n = x.begin(s); n < x.end(s); ++n)
          sum += x.gradient(n)[o] * x.input(n)[i];
        squares += double(sum * sum);
        if (g) add(g.as<Real>()[s * g.stride[0] + o * g.stride[1] + i * g.stride[2]], sum);
      }
      if (!args.bias) continue;
      Real sum = 0;
      for (int64_t n = x.begin(s); n < x.end(s); ++n)
        sum += x.gradient(n)[o];
      squares += double(sum * sum);
      if (args.bias_gradients)
        add(args.bias_gradients.as<Real>()[s * args.bias_gradients.stride[0] + o], sum);
    }
    if (args.squared_norms) {
      double& norm = args.squared_norms.as<double>()[s];
      norm = args.accumulate ? norm + squares : squares;
    }
  }
}

HF_REFERENCE(PerSampleLinearArgs)

}  // namespace hf::reference
