// The packed matrix product inside fused kernels: what the gemm op computes, on operands that the caller
// packed, in one thread and into the caller's buffer. A product here has the same bits as the gemm op on the
// same numbers.
//
// The packed layout of both operands: depth k is cut into blocks of depth_block(K). Inside a block lie panels
// of `width` rows of A (panel_rows(M)) or columns of B (kTileColumns), one after the other, each stored
// k-major: out[k · width + i]. The last panel is padded with zeros.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/panels.h"
#include "backends/cpu/simd.h"

namespace hf::HF_ISA {

using cpu::depth_block;
using cpu::divide_up;
using cpu::kMaxDepth;
using cpu::least;

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
static_assert(kTileRows <= cpu::kMostTileRows && kTileColumns <= cpu::kMostTileColumns);

HF_INLINE int64_t panel_rows(int64_t M) {
  return cpu::panel_rows(M, kTileRows);
}

// c (M,N) = alpha · A B, or c += alpha · A B; rows of c are `row` floats apart.
void multiply_packed(const float* a, const float* b, int64_t M, int64_t N, int64_t K, float alpha,
                     bool accumulate, float* c, int64_t row);

}  // namespace hf::HF_ISA
