#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"

namespace hf::reference {

template <class Real>
void run(const TiedGramArgs& args, Run& r) {
  const Pairs<Real> x = make_pairs<Real>(args.phi, args.g, args.offsets, args.phi_rows);
  const Pairs<Real> y = make_pairs<Real>({}, args.delta, args.offsets2, {});
  const int32_t* ids = args.ids.as<int32_t>();
  Scratch scratch(r);
  double* sums = scratch.allocate<double>(x.functions * y.functions);
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = 0; t < y.functions; ++t) {
      double sum = 0;
      for (int64_t n = x.begin(s); n < x.end(s); ++n)
        for (int64_t m = y.begin(t); m < y.end(t); ++m) {
          const int64_t column = ids[m] - args.first_id;
          if (column >= 0 && column < x.outputs)
            sum += double(x.gradient(n)[column] * dot(x.input(n), y.gradient(m), x.inputs));
        }
      sums[s * y.functions + t] = sum;
    }
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = 0; t < y.functions; ++t) {
      const double mirrored = args.symmetrize ? sums[t * y.functions + s] : 0;
      const double sum = sums[s * y.functions + t] + mirrored;
      double& entry = args.gram.as<double>()[s * args.gram.stride[0] + t * args.gram.stride[1]];
      entry = args.accumulate ? entry + sum : sum;
    }
}

HF_REFERENCE(TiedGramArgs)

}  // namespace hf::reference
