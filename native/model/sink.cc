#include "model/sink.h"

#include <algorithm>

#include "ops/op_table.h"

namespace hf {

bool GradientSink::wants(const Linear& linear) const {
  return std::any_of(linear.parts.begin(), linear.parts.end(), [&](const LinearPart& part) {
    return wants(part.weight) || (part.bias >= 0 && wants(part.bias));
  });
}

// One product for the whole layer if all of its weights are wanted, else one for each that is.
void SumSink::linear(const Linear& linear, const View& a, const View& d, const GradientRows&) {
  const std::vector<LinearPart>& parts = linear.parts;
  const bool all =
      std::all_of(parts.begin(), parts.end(), [&](const LinearPart& part) { return wants(part.weight); });
  if (all) {
    add_weight(linear, parts.front(), linear.out(), a, d);
  } else {
    for (const LinearPart& part : parts)
      if (wants(part.weight)) add_weight(linear, part, part.count, a, d);
  }
  for (const LinearPart& part : parts)
    if (part.bias >= 0 && wants(part.bias)) add_rows(d.slice(1, part.begin, part.count), View{}, part.bias);
}

void SumSink::norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows&) {
  if (wants(norm.gain)) add_rows(d, x_hat, norm.gain);
  if (norm.bias >= 0 && wants(norm.bias)) add_rows(d, View{}, norm.bias);
}

void SumSink::head_norm(int gain, const View& x_hat, const View& d, int64_t, const GradientRows&) {
  add_rows(d, x_hat, gain);
}

void SumSink::gather(int table, const View& ids, const View& d, const GradientRows&) {
  dispatch(EmbeddingBackwardArgs{.ids = ids, .d_y = d, .d_table = gradient(table)}, run_);
}

// The gradient of `columns` outputs that begin with part `first`: dW += dᵀ a, or its transpose where weights
// are stored (in, out).
void SumSink::add_weight(const Linear& linear, const LinearPart& first, int64_t columns, const View& a,
                         const View& d) {
  const View d_part = d.slice(1, first.begin, columns);
  View target = gradient(first.weight);
  if (!linear.transposed) target.shape[0] = columns;
  dispatch(
      GemmArgs{
          .a = linear.transposed ? a.transposed() : d_part.transposed(),
          .b = linear.transposed ? d_part : a,
          .c = target,
          .accumulate = true,
      },
      run_);
}

// The gradient of a vector += the sum of d's rows, each multiplied by scale_by's, if given.
void SumSink::add_rows(const View& d, const View& scale_by, int parameter) {
  dispatch(ReduceArgs{.x = d, .scale_by = scale_by, .y = gradient(parameter), .accumulate = true}, run_);
}

}  // namespace hf
