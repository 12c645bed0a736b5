// The packed matrix product inside fused kernels: what gemm.cc computes, on operands that the caller packed,
// in one thread and into the caller's buffer. A product here has the same bits as the gemm op on the same
// numbers.
//
// Packed layout, both operands: depth k is cut into blocks of depth_block(K); inside a block, panels of
// `width` rows of A (panel_rows(M)) or columns of B (kTileColumns), each stored k-major: out[k · width + i].
// The last panel is padded with zeros.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"

namespace hf::HF_ISA {

// The register tile: kTileRows × 2 vectors of accumulators, two vectors of B and one broadcast of A fit the
// register file.
#if HF_VECTOR_BYTES == 64
constexpr int kTileRows = 14;
#elif defined(__aarch64__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileColumns = 2 * kLanes;
constexpr int64_t kMaxDepth = 512;  // a panel of A (28 KiB with AVX-512) stays in the L1 cache

HF_INLINE int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}
HF_INLINE int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
// Equal blocks. A function of K alone, so that the order of the sum over k is, too.
HF_INLINE int64_t depth_block(int64_t K) {
  const int64_t blocks = divide_up(K, kMaxDepth);
  return blocks ? divide_up(divide_up(K, blocks), 8) * 8 : 1;
}
// Rows per panel of A, nearly the most, so that the last panel is as full as may be: M = 8 is 4 + 4, not 6 +
// 2; 256 is 20 panels of 13, not 19 of 14.
HF_INLINE int64_t panel_rows(int64_t M) {
  const int64_t tall = M ? divide_up(M, divide_up(M, kTileRows)) : 1, lower = tall - 1;
  return tall == kTileRows && kTileRows > 6 && divide_up(M, lower) * lower < divide_up(M, tall) * tall ? lower
                                                                                                       : tall;
}

// c (M,N) = alpha · A B, or c += alpha · A B; rows of c are `row` floats apart.
void multiply_packed(const float* a, const float* b, int64_t M, int64_t N, int64_t K, float alpha,
                     bool accumulate, float* c, int64_t row);

}  // namespace hf::HF_ISA
