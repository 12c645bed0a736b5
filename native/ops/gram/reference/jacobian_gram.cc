#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"

namespace hf::reference {
namespace {

// Row o of every function's gradient: (functions, inputs), and with `bias` one more column.
template <class Real>
void gradient_rows(const Pairs<Real>& x, int64_t o, bool bias, Real* g) {
  const int64_t columns = x.inputs + bias;
  for (int64_t s = 0; s < x.functions; ++s) {
    Real* row = g + s * columns;
    for (int64_t i = 0; i < columns; ++i)
      row[i] = 0;
    for (int64_t n = x.begin(s); n < x.end(s); ++n) {
      for (int64_t i = 0; i < x.inputs; ++i)
        row[i] += x.gradient(n)[o] * x.input(n)[i];
      if (bias) row[x.inputs] += x.gradient(n)[o];
    }
  }
}

}  // namespace

template <class Real>
void run(const JacobianGramArgs& args, Run& r) {
  const Pairs<Real> x = first_pairs<Real>(args);
  const Pairs<Real> y = second_pairs<Real>(args);
  const int64_t columns = x.inputs + args.bias;
  Scratch scratch(r);
  Real* g = scratch.allocate<Real>(x.functions * columns);
  Real* g2 = args.offsets2 ? scratch.allocate<Real>(y.functions * columns) : g;
  double* sums = scratch.allocate<double>(x.functions * y.functions);
  for (int64_t i = 0; i < x.functions * y.functions; ++i)
    sums[i] = 0;
  for (int64_t o = 0; o < x.outputs; ++o) {
    gradient_rows(x, o, args.bias, g);
    if (args.offsets2) gradient_rows(y, o, args.bias, g2);
    for (int64_t s = 0; s < x.functions; ++s)
      for (int64_t t = args.offsets2 ? 0 : s; t < y.functions; ++t)
        sums[s * y.functions + t] += double(dot(g + s * columns, g2 + t * columns, columns));
  }
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = args.offsets2 ? 0 : s; t < y.functions; ++t)
      add_entry(args, s, t, sums[s * y.functions + t]);
}

HF_REFERENCE(JacobianGramArgs)

}  // namespace hf::reference
