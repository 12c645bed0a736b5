// Operands of plain products in the form that libraries take.
#pragma once

#include "backends/cuda/pack_rows.h"
#include "runtime/run.h"

namespace hf::cuda {

// The same numbers rounded to bfloat16, in scratch memory of the enclosing on_device(), rows (or columns)
// contiguous as in v and at multiples of 16 bytes. v itself when it is bfloat16. v: a plain matrix.
inline View bf16_copy(const View& v, Run& run) {
  if (v.dtype == DType::kBF16) return v;
  const bool by_rows = contiguous_rows(v);
  const View x = by_rows ? v : v.transposed();
  const View copy =
      packed_view(pack_rows(operand_of(x), x.shape[0], x.shape[1], run), x.shape[0], x.shape[1]);
  return by_rows ? copy : copy.transposed();
}

}  // namespace hf::cuda
