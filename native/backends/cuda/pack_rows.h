// Operands in the form that cuBLAS and Hopper's copy engine take: bfloat16, rows one after the other, the
// summed index along the row.
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
// The operand itself where it lies so already. Otherwise its rows (through their index), rounded, in scratch
// memory of the enclosing on_device().
PackedRows pack_rows(const Operand& operand, int64_t rows, int64_t depth, Run& run);

// v's numbers rounded to bfloat16, with rows (or columns) contiguous as in v and at multiples of 16 bytes; v
// itself when it is bfloat16. v is a plain matrix (core/view.h).
inline View bf16_copy(const View& v, Run& run) {
  if (v.dtype == DType::kBF16) return v;
  const bool by_rows = contiguous_rows(v);
  const View x = by_rows ? v : v.transposed();
  const PackedRows packed = pack_rows(operand_of(x), x.shape[0], x.shape[1], run);
  const View copy = packed_view(packed, x.shape[0], x.shape[1]);
  return by_rows ? copy : copy.transposed();
}

}  // namespace hf::cuda
