// Multiplies two matrices, with the epilogues that a transformer needs.
//   C = alpha · A B (+ bias, per column) (+ residual)
//   C += alpha · A B (+ bias) (+ residual)                 with `accumulate`
//
// Fields:
//   a (M,K), b (K,N)     any strides, so every transpose is a view; each may be bfloat16
//   bias (N)             optional
//   residual (M,N)       optional
//   packed_b (P)         optional: b as op gemm_pack lays it out, made once and used many times (decoding)
//   c (M,N)              the result; rows may be apart
//   triangle             upper: only entries n ≥ m are computed, for Gram matrices (M = N); the others are
//                        neither read nor written
// bfloat16 operands are widened exactly; products and sums are those of c's type. In bf16 math both operands
// are bfloat16, rounded if they have to be. packed_b is valid for the backend and the math that made it; b is
// still needed for its shape and by backends that do not pack.
// The sum over k is taken in the same order with and without packed_b, and for every M and N, so a row of C
// has the same bits in a batch of 1 and of 1,000. Exceptions are large products of cuBLAS (docs/cuda.md) and
// of the BLAS that HEADFIRST_BLAS names (docs/linking.md). Transposes are never materialised. Nothing may
// alias. Cost: 2 M K N flops.
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
  const double M = double(g.c.shape[0]), N = double(g.c.shape[1]), K = double(g.a.shape[1]);
  const double share = g.triangle == Triangle::kUpper ? 0.5 : 1;
  return {2 * M * N * K * share, 4 * (M * K + K * N + M * N * (1 + g.accumulate))};
}

// Bytes of packed_b, enough for every backend.
constexpr int64_t gemm_packed_bytes(int64_t K, int64_t N) {
  return 64 + 4 * K * ((N + 31) / 32 * 32);
}

// Lays b out as the running backend's products read it, for packed_b of op gemm.
// b (K,N) may have any strides and may be bfloat16. packed (P) is bytes, P ≥ gemm_packed_bytes(K, N); those
// beyond what the layout needs are left alone.
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
