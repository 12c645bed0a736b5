#include "ntk/pairs.h"

#include "ops/op_table.h"

namespace hf {

View identity_offsets(int64_t count, Run& run) {
  const View offsets = arena_tensor(run, DType::kI32, count + 1);
  for (int64_t i = 0; i <= count; ++i)
    offsets.as<int32_t>()[i] = int32_t(i);
  return offsets;
}

View PairSink::function_sums(const View& d, const View& scale_by, const View& offsets) {
  const View sums = arena_tensor(run_, run_.real(), offsets.shape[0] - 1, d.shape[1]);
  dispatch(SegmentReduceArgs{.x = d, .offsets = offsets, .scale_by = scale_by, .y = sums}, run_);
  return sums;
}

void PairSink::norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) {
  Scratch scratch(run_);
  if (wants(norm.gain)) elements(norm.gain, function_sums(d, x_hat, rows.offsets));
  if (norm.bias >= 0 && wants(norm.bias)) elements(norm.bias, function_sums(d, View{}, rows.offsets));
}

void PairSink::head_norm(int gain, const View& x_hat, const View& d, int64_t heads,
                         const GradientRows& rows) {
  Scratch scratch(run_);
  const View offsets = arena_tensor(run_, DType::kI32, rows.offsets.shape[0]);
  for (int64_t s = 0; s < offsets.shape[0]; ++s)
    offsets.as<int32_t>()[s] = int32_t(rows.offsets.as<int32_t>()[s] * heads);
  elements(gain, function_sums(d, x_hat, offsets));
}

}  // namespace hf
