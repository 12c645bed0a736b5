// Operands as cuBLAS and Hopper's copy engine take them: bfloat16, rows one after the other, the summed index
// along the row.
#pragma once

#include "backends/cuda/tile.h"

namespace hf::cuda {

struct PackedRows {
  const uint16_t* data;
  int64_t step;  // numbers between rows, a multiple of 8
};
inline View packed_view(const PackedRows& p, int64_t rows, int64_t depth) {
  return make_view(const_cast<uint16_t*>(p.data), DType::kBF16, rows, p.step).slice(1, 0, depth);
}
// The operand itself where it lies so already; else its rows (through their index), rounded, in scratch
// memory.
PackedRows pack_rows(const Operand& operand, int64_t rows, int64_t depth, Run& run);

}  // namespace hf::cuda
