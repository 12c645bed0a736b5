#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"

namespace hf::reference {

template <class Real>
void run(const TokenGramArgs& args, Run&) {
  const Pairs<Real> x = first_pairs<Real>(args);
  const Pairs<Real> y = second_pairs<Real>(args);
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = args.offsets2 ? 0 : s; t < y.functions; ++t) {
      double sum = 0;
      for (int64_t n = x.begin(s); n < x.end(s); ++n)
        for (int64_t m = y.begin(t); m < y.end(t); ++m) {
          const Real aa = args.a ? dot(x.input(n), y.input(m), x.inputs) + Real(args.bias) : Real(1);
          sum += double(aa * dot(x.gradient(n), y.gradient(m), x.outputs));
        }
      add_entry(args, s, t, sum);
    }
}

HF_REFERENCE(TokenGramArgs)

}  // namespace hf::reference
