// The vector vocabulary of the CPU kernels.
//
// A vector holds several numbers, its lanes, and one instruction does the same to all of them. GCC and clang
// know such types without any library: a type with __attribute__((vector_size(32))) is 32 bytes of its
// element type. What one needs to know of them to read a kernel:
//
//   a + b, a * b, -a, a < b    work lane by lane; a number beside a vector (2 * v) counts as a vector of it
//   a < b                      is an integer vector: all bits of a lane are set where it holds, none elsewhere
//   m ? x : y                  takes each lane from x where m's lane is set, else from y
//   v[i]                       is one lane; slow, so not in inner loops
//   Floats{}                   is a vector of zeros
//   __builtin_shufflevector    picks lanes of two vectors by constant numbers (the second's go on counting)
//   __builtin_convertvector    converts lane by lane
//   reinterpret_cast           takes the same bits as another type
//
// The width follows the instruction set of the file that includes this: 16 bytes for baseline and arm64, 32
// for AVX2, 64 for AVX-512. A kernel is written once, in terms of kLanes. HF_VECTOR_BYTES overrides the
// width: the build option HEADFIRST_EMULATE_AVX512 compiles the 64-byte kernels for machines that only have
// AVX2, so that they can be tested there. Where the compiler does not find the best instruction by itself,
// the functions below name it (_mm256_… for AVX2, _mm512_… for AVX-512).
//
//   Floats, Ints, Doubles      kLanes float32 or int32, kLanes / 2 float64
//   load, store, *_partial     any address; the partial forms touch exactly `count` elements, 0 ≤ count ≤ kLanes
//   sum, max_of                over the lanes, as a tree of halves: a fixed order per instruction set
//   transpose                  kLanes rows of kLanes
//   exp, log, tanh, erf        float32, errors stated at each; no tables, no branches, no calls
//
// a * b + c becomes a fused multiply-add wherever the machine has it (-ffp-contract=fast), so write that.
#pragma once

#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/macros.h"

#ifndef HF_VECTOR_BYTES
#if defined(__AVX512F__)
#define HF_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define HF_VECTOR_BYTES 32
#else
#define HF_VECTOR_BYTES 16
#endif
#endif

namespace hf::HF_ISA {

constexpr int kVectorBytes = HF_VECTOR_BYTES;
constexpr int kLanes = kVectorBytes / 4;

using Floats = float __attribute__((vector_size(kVectorBytes)));
using Ints = int32_t __attribute__((vector_size(kVectorBytes)));
using Doubles = double __attribute__((vector_size(kVectorBytes)));
using HalfFloats = float __attribute__((vector_size(kVectorBytes / 2)));
using HalfWords = uint16_t __attribute__((vector_size(kVectorBytes / 2)));

// A vector of x in every lane.
// x − 0 is x for every x, so the compiler drops the subtraction; 0 + x it has to keep, because −0 would
// become +0.
HF_INLINE Floats broadcast(float x) {
  return x - Floats{};
}
HF_INLINE Ints broadcast(int32_t x) {
  return x - Ints{};
}
HF_INLINE Doubles broadcast(double x) {
  return x - Doubles{};
}
HF_INLINE Floats zero() {
  return Floats{};
}

HF_INLINE Ints as_ints(Floats v) {
  return reinterpret_cast<Ints>(v);
}
HF_INLINE Floats as_floats(Ints v) {
  return reinterpret_cast<Floats>(v);
}
HF_INLINE Floats to_floats(Ints v) {
  return __builtin_convertvector(v, Floats);
}

// The attributes let a vector lie at any address and alias the element type; GCC turns these into single
// unaligned moves.
template <class Vector, class Element>
HF_INLINE Vector load_as(const Element* p) {
  typedef Vector Unaligned __attribute__((aligned(1), may_alias));
  return *reinterpret_cast<const Unaligned*>(p);
}
template <class Vector, class Element>
HF_INLINE void store_as(Element* p, Vector v) {
  typedef Vector Unaligned __attribute__((aligned(1), may_alias));
  *reinterpret_cast<Unaligned*>(p) = v;
}
HF_INLINE Floats load(const float* p) {
  return load_as<Floats>(p);
}
HF_INLINE Ints load(const int32_t* p) {
  return load_as<Ints>(p);
}
HF_INLINE Doubles load(const double* p) {
  return load_as<Doubles>(p);
}
HF_INLINE void store(float* p, Floats v) {
  store_as(p, v);
}
HF_INLINE void store(int32_t* p, Ints v) {
  store_as(p, v);
}
HF_INLINE void store(double* p, Doubles v) {
  store_as(p, v);
}

// Hides from the compiler where v came from: a number that is loaded, broadcast and stored would be loaded
// once and then be broadcast on the unit that multiplies, where a broadcast out of memory costs a load.
HF_INLINE void pin([[maybe_unused]] Floats& v) {
#if defined(__AVX512F__) || (defined(__AVX2__) && HF_VECTOR_BYTES == 32)
  asm("" : "+v"(v));
#endif
}

HF_INLINE Ints lane_index() {
  Ints v{};
  for (int i = 0; i < kLanes; ++i)
    v[i] = i;
  return v;
}
// a · b + c in one rounding where the machine has it, always. `a * b + c` usually is too, but the compiler
// keeps the product apart when it also needs it elsewhere; where two code paths must agree to the bit, use
// this.
HF_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__FMA__) && HF_VECTOR_BYTES == 32
  return reinterpret_cast<Floats>(
      _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__FMA__) || defined(__aarch64__)
  Floats result{};
  for (int i = 0; i < kLanes; ++i)
    result[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return result;
#else
  return a * b + c;
#endif
}

// All bits of lane i set where i < count.
HF_INLINE Ints first_lanes(int64_t count) {
  return lane_index() < static_cast<int32_t>(count);
}

HF_INLINE Floats select(Ints condition, Floats yes, Floats no) {
  return condition ? yes : no;
}
HF_INLINE Ints select(Ints condition, Ints yes, Ints no) {
  return condition ? yes : no;
}

// Lanes from `count` on are `fill`.
HF_INLINE Floats load_partial(const float* p, int64_t count, float fill = 0) {
  if (count >= kLanes) return load(p);
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      _mm512_mask_loadu_ps(_mm512_set1_ps(fill), static_cast<__mmask16>((1u << count) - 1), p));
#elif defined(__AVX2__) && HF_VECTOR_BYTES == 32
  const Ints wanted = first_lanes(count);
  return select(wanted, reinterpret_cast<Floats>(_mm256_maskload_ps(p, reinterpret_cast<__m256i>(wanted))),
                broadcast(fill));
#else
  Floats v = broadcast(fill);
  for (int i = 0; i < kLanes; ++i)
    if (i < count) v[i] = p[i];
  return v;
#endif
}
HF_INLINE void store_partial(float* p, Floats v, int64_t count) {
  if (count >= kLanes) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
#elif defined(__AVX2__) && HF_VECTOR_BYTES == 32
  _mm256_maskstore_ps(p, reinterpret_cast<__m256i>(first_lanes(count)), reinterpret_cast<__m256>(v));
#else
  for (int i = 0; i < kLanes; ++i)
    if (i < count) p[i] = v[i];
#endif
}

// a > b ? a : b, as the machine's instruction: where a lane of either is NaN the result is b's. max(x,
// running) forgets a NaN in x, max(running, x) takes it.
HF_INLINE Floats max(Floats a, Floats b) {
  return a > b ? a : b;
}
HF_INLINE Floats min(Floats a, Floats b) {
  return a < b ? a : b;
}
HF_INLINE Ints max(Ints a, Ints b) {
  return a > b ? a : b;
}
HF_INLINE Ints min(Ints a, Ints b) {
  return a < b ? a : b;
}
HF_INLINE Floats abs(Floats v) {
  return as_floats(as_ints(v) & 0x7fffffff);
}
HF_INLINE Floats copy_sign(Floats magnitude, Floats sign) {
  return as_floats((as_ints(magnitude) & 0x7fffffff) | (as_ints(sign) & static_cast<int32_t>(0x80000000u)));
}
HF_INLINE Floats sqrt(Floats v) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_sqrt_ps(reinterpret_cast<__m512>(v)));
#elif defined(__AVX2__) && HF_VECTOR_BYTES == 32
  return reinterpret_cast<Floats>(_mm256_sqrt_ps(reinterpret_cast<__m256>(v)));
#else
  Floats root{};
  for (int i = 0; i < kLanes; ++i)
    root[i] = __builtin_sqrtf(v[i]);
  return root;
#endif
}

// Lane i combined with lane i + lanes/2, then again, down to one.
#if HF_VECTOR_BYTES == 16
HF_INLINE float sum(Floats v) {
  return (v[0] + v[2]) + (v[1] + v[3]);
}
HF_INLINE float max_of(Floats v) {
  const float a = v[0] > v[2] ? v[0] : v[2];
  const float b = v[1] > v[3] ? v[1] : v[3];
  return a > b ? a : b;
}
HF_INLINE double sum(Doubles v) {
  return v[0] + v[1];
}
#else
using Floats4 = float __attribute__((vector_size(16)));
using Floats8 = float __attribute__((vector_size(32)));
using Doubles2 = double __attribute__((vector_size(16)));
using Doubles4 = double __attribute__((vector_size(32)));
// The halves of 16 lanes combined, or the 8 lanes that there are.
HF_INLINE Floats8 eight(Floats v, bool maximum) {
#if HF_VECTOR_BYTES == 64
  const Floats8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const Floats8 high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return maximum ? (low > high ? low : high) : low + high;
#else
  (void)maximum;
  return v;
#endif
}
HF_INLINE float sum(Floats v) {
  const Floats8 e = eight(v, false);
  const Floats4 f = __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
  return (f[0] + f[2]) + (f[1] + f[3]);
}
HF_INLINE float max_of(Floats v) {
  const Floats8 e = eight(v, true);
  const Floats4 low = __builtin_shufflevector(e, e, 0, 1, 2, 3);
  const Floats4 high = __builtin_shufflevector(e, e, 4, 5, 6, 7);
  const Floats4 f = low > high ? low : high;
  const float a = f[0] > f[2] ? f[0] : f[2];
  const float b = f[1] > f[3] ? f[1] : f[3];
  return a > b ? a : b;
}
HF_INLINE double sum(Doubles v) {
#if HF_VECTOR_BYTES == 64
  const Doubles4 e = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  const Doubles4 e = v;
#endif
  return (e[0] + e[2]) + (e[1] + e[3]);
}
#endif

// The first and the second half of the lanes in float64.
HF_INLINE Doubles widen_low(Floats v) {
  HalfFloats half{};
  __builtin_memcpy(&half, &v, sizeof half);
  return __builtin_convertvector(half, Doubles);
}
HF_INLINE Doubles widen_high(Floats v) {
  HalfFloats half{};
  __builtin_memcpy(&half, reinterpret_cast<const char*>(&v) + sizeof half, sizeof half);
  return __builtin_convertvector(half, Doubles);
}
// Their inverse, rounded.
HF_INLINE Floats narrow(Doubles low, Doubles high) {
  const HalfFloats a = __builtin_convertvector(low, HalfFloats);
  const HalfFloats b = __builtin_convertvector(high, HalfFloats);
  Floats v{};
  __builtin_memcpy(&v, &a, sizeof a);
  __builtin_memcpy(reinterpret_cast<char*>(&v) + sizeof a, &b, sizeof b);
  return v;
}

// Lane j of row i changes places with lane i of row j: first inside 16-byte pieces of four lanes, then whole
// pieces.
//
// HF_PIECES(w, x, y, z) are the lane numbers of a shuffle that does the same in every piece: 0 … 3 are the
// lanes of the piece of the first vector, 4 … 7 those of the second.
HF_INLINE void transpose(Floats (&v)[kLanes]) {
#define HF_AT(x, piece) ((x) < 4 ? (x) + 4 * (piece) : (x) - 4 + kLanes + 4 * (piece))
#define HF_PIECE(w, x, y, z, piece) HF_AT(w, piece), HF_AT(x, piece), HF_AT(y, piece), HF_AT(z, piece)
#if HF_VECTOR_BYTES == 16
#define HF_PIECES(w, x, y, z) HF_PIECE(w, x, y, z, 0)
#elif HF_VECTOR_BYTES == 32
#define HF_PIECES(w, x, y, z) HF_PIECE(w, x, y, z, 0), HF_PIECE(w, x, y, z, 1)
#else
#define HF_PIECES(w, x, y, z) \
  HF_PIECE(w, x, y, z, 0), HF_PIECE(w, x, y, z, 1), HF_PIECE(w, x, y, z, 2), HF_PIECE(w, x, y, z, 3)
#endif
  for (int i = 0; i < kLanes; i += 4) {
    const Floats a = __builtin_shufflevector(v[i], v[i + 1], HF_PIECES(0, 4, 1, 5));
    const Floats b = __builtin_shufflevector(v[i], v[i + 1], HF_PIECES(2, 6, 3, 7));
    const Floats c = __builtin_shufflevector(v[i + 2], v[i + 3], HF_PIECES(0, 4, 1, 5));
    const Floats d = __builtin_shufflevector(v[i + 2], v[i + 3], HF_PIECES(2, 6, 3, 7));
    v[i] = __builtin_shufflevector(a, c, HF_PIECES(0, 1, 4, 5));
    v[i + 1] = __builtin_shufflevector(a, c, HF_PIECES(2, 3, 6, 7));
    v[i + 2] = __builtin_shufflevector(b, d, HF_PIECES(0, 1, 4, 5));
    v[i + 3] = __builtin_shufflevector(b, d, HF_PIECES(2, 3, 6, 7));
  }
#undef HF_AT
#undef HF_PIECE
#undef HF_PIECES
#if HF_VECTOR_BYTES == 32
  for (int i = 0; i < 4; ++i) {
    const Floats a = v[i];
    const Floats b = v[i + 4];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
#elif HF_VECTOR_BYTES == 64
  for (int j = 0; j < 8; ++j) {
    const int i = j < 4 ? j : j + 4;
    const Floats a = v[i];
    const Floats b = v[i + 4];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    v[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  }
  for (int i = 0; i < 8; ++i) {
    const Floats a = v[i];
    const Floats b = v[i + 8];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    v[i + 8] = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
#endif
}

// bfloat16 is the upper half of a float32: widening is exact, narrowing rounds to the nearest, ties to even,
// and keeps NaN.
HF_INLINE float from_bf16(uint16_t x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16);
}
HF_INLINE uint16_t to_bf16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x40;
  return static_cast<uint16_t>(x != x ? quiet_nan : rounded);
}
HF_INLINE Floats load_bf16(const uint16_t* p) {
  return as_floats(__builtin_convertvector(load_as<HalfWords>(p), Ints) << 16);
}

// e^x within 1.5 ulp; results below 2^−125.5 are 0 (no slow subnormals in a softmax), so exp(−∞) = 0;
// overflow gives ∞; NaN stays NaN. e^x = 2^n e^r, n = round(x / log 2), |r| ≤ log(2)/2, in two parts of log 2
// so that r is exact.
HF_INLINE Floats exp(Floats x) {
  x = min(broadcast(89.0f), max(broadcast(-87.5f), x));
  const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: the integer lies in the low bits
  const Floats n = shifted - 12582912.0f;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = r * 1.991800834e-04f + 1.394621610e-03f;
  p = p * r + 8.333265100e-03f;
  p = p * r + 4.166626790e-02f;
  p = p * r + 1.666666686e-01f;
  p = p * r + 5.000000079e-01f;
  p = (p * r) * r + r + 1.0f;
  const Floats half_scale = as_floats((as_ints(shifted) + 126) << 23);  // n = −126: 0, n = 128: 2^127
  return (p + p) * half_scale;
}

// Natural logarithm within 1.5 ulp; log(0) = −∞, log(x < 0) = NaN, subnormals are exact too.
// x = 2^e (1 + m), 1 + m in [√½, √2): log x = e log 2 + m − m²/2 + m³ P(m).
HF_INLINE Floats log(Floats x) {
  const Ints tiny = x < 1.17549435e-38f;
  const Ints bits = as_ints(select(tiny, x * 8388608.0f, x)) - 0x3f3504f3;
  const Floats e = to_floats((bits >> 23) - (tiny & 23));
  const Floats m = as_floats((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  Floats p = m * 6.746601331e-02f + -1.167564131e-01f;
  p = p * m + 1.188817460e-01f;
  p = p * m + -1.240559142e-01f;
  p = p * m + 1.421955091e-01f;
  p = p * m + -1.666799567e-01f;
  p = p * m + 2.000211873e-01f;
  p = p * m + -2.500000960e-01f;
  p = p * m + 3.333331260e-01f;
  const Floats square = m * m;
  p = (p * m) * square + e * -2.12194440e-4f;
  Floats y = (p - 0.5f * square) + m + e * 0.693359375f;
  y = select(x == 0.0f, broadcast(-__builtin_inff()), y);
  y = select(x == __builtin_inff(), x, y);
  return select((x < 0.0f) | (x != x), broadcast(__builtin_nanf("")), y);
}

// Within 2 ulp: an odd polynomial near 0, 1 − 2 / (e^{2|x|} + 1) beyond.
HF_INLINE Floats tanh(Floats x) {
  const Floats a = abs(x);
  const Floats s = x * x;
  Floats p = s * -5.717036598e-03f + 2.065057904e-02f;
  p = p * s + -5.374349527e-02f;
  p = p * s + 1.333149125e-01f;
  p = p * s + -3.333328392e-01f;
  const Floats small = (p * s) * x + x;
  const Floats large = 1.0f - 2.0f / (exp(a + a) + 1.0f);
  return select(a < 0.625f, small, copy_sign(large, x));
}

// Within 2 ulp: x + x P(x²) near 0, 1 − e^{−t + Q(t)} beyond. Both fits are our own (Lawson-weighted least
// squares).
HF_INLINE Floats erf(Floats x) {
  const Floats s = x * x;
  const Floats t = min(broadcast(4.0f), abs(x));  // erf rounds to 1 from 3.92 on
  Floats p = s * 8.345224886e-05f + -8.137437563e-04f;
  p = p * s + 5.200634306e-03f;
  p = p * s + -2.685927078e-02f;
  p = p * s + 1.128369394e-01f;
  p = p * s + -3.761263370e-01f;
  p = p * s + 1.283791666e-01f;
  const Floats small = p * x + x;
  Floats q = t * -2.082861876e-05f + 4.313935690e-04f;
  q = q * t + -4.156254930e-03f;
  q = q * t + 2.508061653e-02f;
  q = q * t + -1.082203841e-01f;
  q = q * t + -6.334008508e-01f;
  q = q * t + -1.294884065e-01f;
  q = q * t + 1.692051314e-04f;
  const Floats large = 1.0f - exp(q - t);
  return select(t < 0.93f, small, copy_sign(large, x));
}

}  // namespace hf::HF_ISA
