// The rows of pairs (a_n, d_n) of ops/gram/gradient_pairs.h, accessed plainly.
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf::reference {

template <class Real>
struct Pairs {
  View a, d, offsets, a_rows;
  int64_t functions, inputs, outputs;

  int64_t begin(int64_t s) const { return offsets.as<int32_t>()[s]; }
  int64_t end(int64_t s) const { return offsets.as<int32_t>()[s + 1]; }
  const Real* input(int64_t n) const {
    return a.as<Real>() + (a_rows ? a_rows.as<int32_t>()[n] : n) * a.stride[0];
  }
  const Real* gradient(int64_t n) const { return d.as<Real>() + n * d.stride[0]; }
};

template <class Real>
Pairs<Real> make_pairs(const View& a, const View& d, const View& offsets, const View& a_rows) {
  return {a, d, offsets, a_rows, offsets.shape[0] - 1, a ? a.shape[1] : 0, d.shape[1]};
}
template <class Real, class Args>
Pairs<Real> first_pairs(const Args& args) {
  return make_pairs<Real>(args.a, args.d, args.offsets, args.a_rows);
}
template <class Real, class Args>
Pairs<Real> second_pairs(const Args& args) {
  return args.offsets2 ? make_pairs<Real>(args.a2, args.d2, args.offsets2, args.a_rows2)
                       : first_pairs<Real>(args);
}

template <class Real>
Real dot(const Real* x, const Real* y, int64_t count) {
  Real sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += x[i] * y[i];
  return sum;
}

// Entry (s,t) of a Gram matrix, and (t,s) of a symmetric one.
template <class Args>
void add_entry(const Args& args, int64_t s, int64_t t, double value) {
  double* gram = args.gram.template as<double>();
  double& entry = gram[s * args.gram.stride[0] + t];
  entry = args.accumulate ? entry + value : value;
  if (!args.offsets2 && t != s) {
    double& mirrored = gram[t * args.gram.stride[0] + s];
    mirrored = args.accumulate ? mirrored + value : value;
  }
}

}  // namespace hf::reference
