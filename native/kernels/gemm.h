// Matrix product with the epilogues a transformer needs.
//   C = alpha · A B (+ bias, per column) (+ residual)        or, with accumulate,  C += alpha · A B (+ bias) (+ residual)
// a (M,K), b (K,N): any strides, so every transpose is a view. c (M,N): rows may be apart.
// triangle: only entries n ≥ m are defined (Gram matrices; M = N).
// packed_b: b as gemm_pack() lays it out for the running CPU, made once and used many times (decoding); b is still needed
//   for its shape and by backends that do not pack. The sum over k is taken in the same order with and without it, and for
//   every M, so a row of C has the same bits in a batch of 1 and of 1,000.
// Never materialised: transposes. flops 2MKN.
#pragma once

#include "kernels/fields.h"

namespace hf {

enum class Triangle : int32_t { kFull, kUpper };

struct GemmArgs {
  View a, b, c;
  View bias, residual, packed_b;
  double alpha = 1;
  bool accumulate = false;
  Triangle triangle = Triangle::kFull;

  static constexpr const char* kName = "gemm";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    static constexpr const char* kTriangles[] = {"full", "upper"};
    f.in("a", s.a, "M K", kStrided);
    f.in("b", s.b, "K N", kStrided);
    f.in("bias", s.bias, "N", kOptional);
    f.in("residual", s.residual, "M N", kOptional);
    f.in("packed_b", s.packed_b, "P", kOptional | kBytes);
    f.inout("c", s.c, "M N");
    f.number("alpha", s.alpha);
    f.flag("accumulate", s.accumulate);
    f.choice("triangle", s.triangle, kTriangles, 2);
  }
};

inline Cost cost(const GemmArgs& g) {
  const double m = double(g.c.shape[0]), n = double(g.c.shape[1]), k = double(g.a.shape[1]);
  return {2 * m * n * k * (g.triangle == Triangle::kUpper ? 0.5 : 1), 4 * (m * k + k * n + m * n * (1 + g.accumulate))};
}

}  // namespace hf
