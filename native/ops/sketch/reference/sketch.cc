#include <cmath>

#include "backends/reference/reference.h"
#include "ops/gram/reference/gradient_pairs.h"
#include "ops/sketch/projection.h"

namespace hf::reference {
namespace {

// Entry e of column c of a random matrix.
template <class Real>
Real entry(const SketchArgs& args, uint64_t stream, int64_t column, int64_t e) {
  if (args.projection == Projection::kRademacher) return Real(rademacher_entry(args.seed, stream, column, e));
  const GaussianPair pair = gaussian_entries(args.seed, stream, column, e / 2);
  return Real(e % 2 ? pair.odd : pair.even);
}

// p (left) = R₁ d_n of one repeat.
template <class Real>
void left_factor(const SketchArgs& args, const Pairs<Real>& x, int64_t n, int64_t repeat, Real* p) {
  const uint64_t stream = 2 * args.stream;
  for (int64_t i = 0; i < args.left; ++i) {
    const int64_t e = repeat * args.left + i;
    p[i] = 0;
    if (args.ids) {
      p[i] = entry<Real>(args, stream, args.first_column + args.ids.as<int32_t>()[n], e);
    } else {
      for (int64_t o = 0; o < x.outputs; ++o)
        p[i] += x.gradient(n)[o] * entry<Real>(args, stream, args.first_column + o, e);
    }
  }
}

// q (right) = R₂ a_n of one repeat.
template <class Real>
void right_factor(const SketchArgs& args, const Pairs<Real>& x, int64_t n, int64_t repeat, int64_t right,
                  Real* q) {
  const uint64_t stream = 2 * args.stream + 1;
  const int64_t inputs = args.a ? x.inputs : 0;
  const bool constant = args.bias || !args.a;
  for (int64_t j = 0; j < right; ++j) {
    const int64_t e = repeat * right + j;
    q[j] = constant ? entry<Real>(args, stream, inputs, e) : Real(0);
    for (int64_t i = 0; i < inputs; ++i)
      q[j] += x.input(n)[i] * entry<Real>(args, stream, i, e);
  }
}

}  // namespace

template <class Real>
void run(const SketchArgs& args, Run& r) {
  const Pairs<Real> x = make_pairs<Real>(args.a, args.d ? args.d : args.ids, args.offsets, args.a_rows);
  const View& out = args.sketches;
  const int64_t repeats = out.shape[1], left = args.left, right = out.shape[2] / left;
  Scratch scratch(r);
  Real* p = scratch.allocate<Real>(left);
  Real* q = scratch.allocate<Real>(right);
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t n = x.begin(s); n < x.end(s); ++n)
      for (int64_t repeat = 0; repeat < repeats; ++repeat) {
        left_factor(args, x, n, repeat, p);
        right_factor(args, x, n, repeat, right, q);
        Real* sketch = out.as<Real>() + s * out.stride[0] + repeat * out.stride[1];
        for (int64_t i = 0; i < left; ++i)
          for (int64_t j = 0; j < right; ++j)
            sketch[i * right + j] += p[i] * q[j] / std::sqrt(Real(left * right));
      }
}

HF_REFERENCE(SketchArgs)

}  // namespace hf::reference
