// Float64 functions of the few kernels whose results must not depend on float32 rounding.
#pragma once

#include "backends/cpu/simd.h"

namespace hf::HF_ISA {

using Longs = int64_t __attribute__((vector_size(kVectorBytes)));

constexpr double kRounder = 6755399441055744.0;  // 1.5 · 2^52: x + kRounder has round(x) in its low bits

// e^x within 2 ulp for x ≤ 700; 0 below −708, so exp(−∞) = 0.
HF_INLINE Doubles exp(Doubles x) {
  const Longs gone = x < -708.0;
  x = gone ? Doubles{} : x;
  const Doubles shifted = x * 1.4426950408889634 + kRounder;
  const Doubles n = shifted - kRounder;
  const Doubles r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;  // log 2 in two parts
  Doubles p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;  // Taylor: |r| ≤ log(2)/2 leaves 4e-18
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * (r * r) + r + 1.0;
  const Doubles scale = reinterpret_cast<Doubles>((reinterpret_cast<Longs>(shifted) + 1023) << 52);
  return gone ? Doubles{} : p * scale;
}

// sin and cos within 1e-11 for |x| ≤ 1e6: enough for results that are rounded to float32.
HF_INLINE void sin_cos(Doubles x, Doubles* sine, Doubles* cosine) {
  const Doubles shifted = x * 0.63661977236758134308 + kRounder;
  const Doubles k = shifted - kRounder;
  // π/2 in two parts: k times its 33 leading bits is exact.
  const Doubles r = (x - k * 1.57079632673412561417) - k * 6.07710050650619224932e-11;
  const Doubles s = r * r;
  Doubles a = s * (-1.0 / 39916800.0) + 1.0 / 362880.0;
  a = a * s + -1.0 / 5040.0;
  a = a * s + 1.0 / 120.0;
  a = a * s + -1.0 / 6.0;
  a = a * s * r + r;
  Doubles b = s * (1.0 / 479001600.0) + -1.0 / 3628800.0;
  b = b * s + 1.0 / 40320.0;
  b = b * s + -1.0 / 720.0;
  b = b * s + 1.0 / 24.0;
  b = b * s + -0.5;
  b = b * s + 1.0;
  const Longs quadrant = reinterpret_cast<Longs>(shifted);
  const Longs odd = (quadrant & 1) != 0;
  const Doubles u = odd ? b : a;
  const Doubles v = odd ? a : b;
  *sine = (quadrant & 2) != 0 ? -u : u;
  *cosine = ((quadrant + 1) & 2) != 0 ? -v : v;
}

// Whether any lane of a comparison's result is set.
HF_INLINE bool any(Ints mask) {
#if defined(__AVX2__) && HF_VECTOR_BYTES == 32
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#elif defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) != 0;
#else
  const Longs halves = reinterpret_cast<Longs>(mask);
  int64_t bits = 0;
  for (int i = 0; i < kLanes / 2; ++i)
    bits |= halves[i];
  return bits != 0;
#endif
}

}  // namespace hf::HF_ISA
