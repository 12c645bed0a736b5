// Products in bfloat16 by AVX512_BF16 (Math::kBf16).
//
// Operands are packed as panels of words. A word holds the two numbers at 2k and 2k + 1, rounded to the
// nearest bfloat16 (ties to even, subnormals to zero). A panel of words is to the kernels what a panel of
// floats is, with `dot` in the place of a multiply-add. The instructions are written as text, since these
// files are compiled for processors without them.
#pragma once

#include "backends/cpu/pack.h"

namespace hf::HF_ISA {
namespace {

#if defined(__AVX512F__)
constexpr bool kHasPairs = true;

// c + a.low · b.low + a.high · b.high, one after the other, rounded after each.
HF_INLINE Floats dot(Floats a, Floats b, Floats c) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
  return c;
}

// The numbers of `low` as the first half, those of `high` as the second.
HF_INLINE Floats narrow(Floats low, Floats high) {
  Floats words;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(words) : "v"(low), "v"(high));
  return words;
}

// The words of p[0 … count), neighbours along k.
HF_INLINE Floats pairs_along_k(const float* p, int64_t count) {
  return narrow(load_partial(p, count), count > kLanes ? load_partial(p + kLanes, count - kLanes) : zero());
}
HF_INLINE Floats pairs_along_k(const uint16_t* p, int64_t count) {
  if (count >= 2 * kLanes) return load_as<Floats>(p);
  alignas(64) uint16_t numbers[2 * kLanes] = {};
  for (int64_t i = 0; i < count; ++i)
    numbers[i] = p[i];
  return load_as<Floats>(numbers);
}

// The words of low[i] and high[i] for i < count, rows 2k and 2k + 1; high may be null.
HF_INLINE Floats pairs_across_k(const float* low, const float* high, int64_t count) {
  using Halves = uint16_t __attribute__((vector_size(kVectorBytes)));
  const Halves v =
      reinterpret_cast<Halves>(narrow(load_partial(low, count), high ? load_partial(high, count) : zero()));
  return reinterpret_cast<Floats>(__builtin_shufflevector(v, v, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                                          22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                          29, 14, 30, 15, 31));
}
HF_INLINE Floats pairs_across_k(const uint16_t* low, const uint16_t* high, int64_t count) {
  using Words = uint32_t __attribute__((vector_size(kVectorBytes)));
  const Words even = reinterpret_cast<Words>(fetch(low, count)) >> 16;
  const Words odd = high ? reinterpret_cast<Words>(fetch(high, count)) : Words{};
  return reinterpret_cast<Floats>(even | odd);
}

// One number, rounded as the instruction does: a subnormal becomes a zero of its sign.
HF_INLINE uint16_t narrow_one(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const bool subnormal_or_zero = (bits & 0x7f800000) == 0;
  return subnormal_or_zero ? static_cast<uint16_t>(bits >> 16 & 0x8000) : to_bf16(x);
}
HF_INLINE uint16_t narrow_one(uint16_t x) {
  return x;
}

// Panels whose rows lie along w.
template <class Element>
HF_INLINE void pack_pairs_across_k(float* out, int64_t width, const Element* source, int64_t step_k,
                                   int64_t count_w, int64_t words, int64_t numbers) {
  for (int64_t k = 0; k < words; ++k) {
    const Element* const low = source + 2 * k * step_k;
    const Element* const high = 2 * k + 1 < numbers ? low + step_k : nullptr;
    for (int64_t w = 0; w < width; w += kLanes) {
      const Floats v = w < count_w ? pairs_across_k(low + w, high ? high + w : nullptr, count_w - w) : zero();
      store_partial(out + k * width + w, v, width - w);
    }
  }
}

// Panels whose rows lie along k: squares of words are transposed in registers.
template <class Element>
HF_INLINE void pack_pairs_along_k(float* out, int64_t width, const Element* source, int64_t step_w,
                                  int64_t count_w, int64_t words, int64_t numbers) {
  for (int64_t w = 0; w < width; w += kLanes)
    for (int64_t k = 0; k < words; k += kLanes) {
      Floats square[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const Element* const from = source + (w + i) * step_w + 2 * k;
        square[i] = w + i < count_w ? pairs_along_k(from, numbers - 2 * k) : zero();
      }
      transpose(square);
      for (int64_t i = 0; i < least(words - k, kLanes); ++i)
        store_partial(out + (k + i) * width + w, square[i], width - w);
    }
}

// Any strides.
template <class Element>
HF_INLINE void pack_pairs_one_by_one(float* out, int64_t width, const Element* source, int64_t step_w,
                                     int64_t step_k, int64_t count_w, int64_t words, int64_t numbers) {
  uint32_t* const to = reinterpret_cast<uint32_t*>(out);
  for (int64_t k = 0; k < words; ++k)
    for (int64_t w = 0; w < width; ++w) {
      const Element* const at = source + w * step_w + 2 * k * step_k;
      const uint32_t low = w < count_w ? narrow_one(at[0]) : 0;
      const uint32_t high = w < count_w && 2 * k + 1 < numbers ? narrow_one(at[step_k]) : 0;
      to[k * width + w] = high << 16 | low;
    }
}

// out[k · width + w] = the word of source[w · step_w + 2k · step_k] and the next one along k, for w < width;
// zero for w ≥ count_w. `numbers` along k are left from here on.
template <class Element>
HF_NOINLINE void pack_pairs(float* out, int64_t width, const Element* source, int64_t step_w, int64_t step_k,
                            int64_t count_w, int64_t words, int64_t numbers) {
  if (step_w == 1)
    pack_pairs_across_k(out, width, source, step_k, count_w, words, numbers);
  else if (step_k == 1)
    pack_pairs_along_k(out, width, source, step_w, count_w, words, numbers);
  else
    pack_pairs_one_by_one(out, width, source, step_w, step_k, count_w, words, numbers);
}
#else
constexpr bool kHasPairs = false;
HF_INLINE Floats dot(Floats, Floats, Floats c) {
  return c;
}
template <class Element>
HF_INLINE void pack_pairs(float*, int64_t, const Element*, int64_t, int64_t, int64_t, int64_t, int64_t) {}
#endif

}  // namespace
}  // namespace hf::HF_ISA
