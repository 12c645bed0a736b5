#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"

namespace hf::reference {

template <class Real>
void run(const EmbeddingGramArgs& args, Run&) {
  const Pairs<Real> x = make_pairs<Real>({}, args.d, args.offsets, {});
  const Pairs<Real> y = args.offsets2 ? make_pairs<Real>({}, args.d2, args.offsets2, {}) : x;
  const int32_t* ids = args.ids.as<int32_t>();
  const int32_t* ids2 = args.offsets2 ? args.ids2.as<int32_t>() : ids;
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = args.offsets2 ? 0 : s; t < y.functions; ++t) {
      double sum = 0;
      for (int64_t n = x.begin(s); n < x.end(s); ++n)
        for (int64_t m = y.begin(t); m < y.end(t); ++m)
          if (ids[n] == ids2[m]) sum += double(dot(x.gradient(n), y.gradient(m), x.outputs));
      add_entry(args, s, t, sum);
    }
}

HF_REFERENCE(EmbeddingGramArgs)

}  // namespace hf::reference
