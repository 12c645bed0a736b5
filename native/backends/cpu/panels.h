// How a packed matrix product cuts its operands, in numbers that every instruction set can be asked for.
//
// Depth k is cut into blocks of depth_block(K); inside a block, A is cut into panels of panel_rows(M) rows
// and B into panels of a register tile's columns. backends/cpu/gemm.h says how a panel lies in memory.
#pragma once

#include "backends/cpu/scratch.h"

namespace hf::cpu {

constexpr int64_t kMaxDepth = 512;  // a panel of A (28 KiB with AVX-512) stays in the L1 cache

// Blocks of equal size. It is a function of K alone, so that the order of the sum over k is, too.
HF_INLINE int64_t depth_block(int64_t K) {
  const int64_t blocks = divide_up(K, kMaxDepth);
  return blocks ? round_up(divide_up(K, blocks), 8) : 1;
}

// Rows per panel of A for a register tile of `tile_rows` rows: nearly the most, so that the last panel is as
// full as may be. M = 8 is 4 + 4, not 6 + 2; M = 256 is 20 panels of 13, not 19 of 14.
HF_INLINE int64_t panel_rows(int64_t M, int64_t tile_rows) {
  const int64_t tall = M ? divide_up(M, divide_up(M, tile_rows)) : 1;
  const int64_t lower = tall - 1;
  const bool may_be_lower = tall == tile_rows && tile_rows > 6;
  return may_be_lower && round_up(M, lower) < round_up(M, tall) ? lower : tall;
}

}  // namespace hf::cpu
