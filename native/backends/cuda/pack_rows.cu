// Rounds the rows of an operand to bfloat16 (pack_rows.h). A thread owns eight numbers of a row and writes
// them as 16 bytes. No shared memory. Memory bound: 6 bytes a number.
#include "backends/cuda/pack_rows.h"
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

HF_KERNEL __launch_bounds__(kThreads)
    pack_rows_kernel(Operand operand, int64_t rows, int64_t depth, int64_t step, uint4* out) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t per_row = step / 8;
  const int64_t row = i / per_row;
  const int64_t k0 = i % per_row * 8;
  if (row >= rows) return;
  float x[8];
  if (operand.vectors && k0 + 8 <= depth) {
    const float4* from = reinterpret_cast<const float4*>(static_cast<const float*>(operand.data) +
                                                         offset_in(operand, row, k0));
    const float4 low = from[0], high = from[1];
    x[0] = low.x;
    x[1] = low.y;
    x[2] = low.z;
    x[3] = low.w;
    x[4] = high.x;
    x[5] = high.y;
    x[6] = high.z;
    x[7] = high.w;
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j)
      x[j] = k0 + j < depth ? number_at(operand, offset_in(operand, row, k0 + j)) : 0.0f;
  }
  out[i] =
      make_uint4(to_bf16x2(x[0], x[1]), to_bf16x2(x[2], x[3]), to_bf16x2(x[4], x[5]), to_bf16x2(x[6], x[7]));
}

}  // namespace

PackedRows pack_rows(const Operand& o, int64_t rows, int64_t depth, Run& run) {
  const bool plain = o.bf16 && o.depth_step == 1 && !o.row_index && !o.depth_index;
  const bool aligned = o.row_step % 8 == 0 && reinterpret_cast<uintptr_t>(o.data) % 16 == 0;
  if (plain && aligned) return {static_cast<const uint16_t*>(o.data), o.row_step};
  const int64_t step = (depth + 7) / 8 * 8;
  uint16_t* out = device_scratch<uint16_t>(run, rows * step);
  launch("pack rows", pack_rows_kernel, dim3(blocks(rows * (step / 8), kThreads)), kThreads, 0,
         stream_of(run), o, rows, depth, step, reinterpret_cast<uint4*>(out));
  return {out, step};
}

}  // namespace hf::cuda
