// Matrix product with the epilogues a transformer needs.
//   C = alpha · A B (+ bias, per column) (+ residual)        or, with accumulate,  C += alpha · A B (+ bias) (+ residual)
// a (M,K), b (K,N): any strides, so every transpose is a view. c (M,N): rows may be apart.
// triangle: only entries n ≥ m are computed, the others are neither read nor written (Gram matrices; M = N).
// a and b may be bfloat16, each for itself: they are widened exactly, products and sums are those of c's
// type. In bf16 math both are bfloat16, rounded if they have to be. packed_b: b as gemm_pack lays it out,
// made once and used many times (decoding). It is valid for the backend and the math that made it; b is
//   still needed for its shape and by backends that do not pack. The sum over k is taken in the same order with and without it,
//   and for every M and N, so a row of C has the same bits in a batch of 1 and of 1,000 (but for large products of
//   cuBLAS, docs/cuda.md, or of the BLAS that HEADFIRST_BLAS names, docs/linking.md).
// Never materialised: transposes. flops 2MKN.
#pragma once

#include "ops/fields.h"

namespace hf {

enum class Triangle : int32_t { kFull, kUpper };

struct GemmArgs {
  View a, b, c;
  View bias, residual, packed_b;
  double alpha = 1;
  bool accumulate = false;
  Triangle triangle = Triangle::kFull;

  static constexpr const char* kName = "gemm";
  static constexpr bool kTakesScratch = true;
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    static constexpr const char* kTriangles[] = {"full", "upper"};
    f.in("a", s.a, "M K", kStrided | kBf16);
    f.in("b", s.b, "K N", kStrided | kBf16);
    f.in("bias", s.bias, "N", kOptional);
    f.in("residual", s.residual, "M N", kOptional);
    f.in("packed_b", s.packed_b, "P", kOptional | kBytes);
    f.inout("c", s.c, "M N", kStored);
    f.number("alpha", s.alpha);
    f.flag("accumulate", s.accumulate);
    f.choice("triangle", s.triangle, kTriangles, 2);
  }
};

inline Cost cost(const GemmArgs& g) {
  const double m = double(g.c.shape[0]), n = double(g.c.shape[1]), k = double(g.a.shape[1]);
  return {2 * m * n * k * (g.triangle == Triangle::kUpper ? 0.5 : 1),
          4 * (m * k + k * n + m * n * (1 + g.accumulate))};
}

// Bytes of packed_b, enough for every backend.
constexpr int64_t gemm_packed_bytes(int64_t K, int64_t N) {
  return 64 + 4 * K * ((N + 31) / 32 * 32);
}

// packed = b in the running backend's layout; P ≥ gemm_packed_bytes(K, N). Bytes beyond what the layout needs
// are left alone.
struct GemmPackArgs {
  View b, packed;

  static constexpr const char* kName = "gemm_pack";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("b", s.b, "K N", kStrided | kBf16);
    f.out("packed", s.packed, "P", kBytes);
  }
};

inline void check_args(const GemmPackArgs& g) {
  const int64_t needed = gemm_packed_bytes(g.b.shape[0], g.b.shape[1]);
  HF_CHECK(g.packed.size() >= needed, ErrorCode::kShape,
           "gemm_pack: packed must have at least %lld bytes, got %lld", (long long)needed,
           (long long)g.packed.size());
}

inline Cost cost(const GemmPackArgs& g) {
  return {0, 8.0 * g.b.size()};
}

}  // namespace hf
