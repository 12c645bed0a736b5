#include "model/sink.h"

#include "ops/op_table.h"

namespace hf {
namespace {

void add_rows(const View& x, const View& scale_by, const View& y, Run& run) {
  ReduceArgs args;
  args.x = x, args.scale_by = scale_by, args.y = y, args.accumulate = true;
  dispatch(args, run);
}

}  // namespace

// The gradient of `columns` outputs that begin with part `first`: dW += dᵀ a, or its transpose where weights
// are stored (in, out).
void SumSink::weight(const Linear& linear, const LinearPart& first, int64_t columns, const View& a,
                     const View& d) {
  View target = gradient(first.weight);
  const View slice = d.slice(1, first.begin, columns);
  GemmArgs args;
  args.accumulate = true;
  if (linear.transposed) {
    args.a = a.transposed(), args.b = slice;
  } else {
    target.shape[0] = columns;
    args.a = slice.transposed(), args.b = a;
  }
  args.c = target;
  dispatch(args, run_);
}

void SumSink::linear(const Linear& linear, const View& a, const View& d, const GradientRows&) {
  const auto& parts = linear.parts;
  bool all = true;
  for (const LinearPart& part : parts)
    all = all && wants(part.weight);
  if (all) {
    weight(linear, parts.front(), linear.out(), a, d);
  } else {
    for (const LinearPart& part : parts)
      if (wants(part.weight)) weight(linear, part, part.count, a, d);
  }
  for (const LinearPart& part : parts)
    if (part.bias >= 0 && wants(part.bias))
      add_rows(d.slice(1, part.begin, part.count), View{}, gradient(part.bias), run_);
}

void SumSink::norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows&) {
  if (wants(norm.gain)) add_rows(d, x_hat, gradient(norm.gain), run_);
  if (norm.bias >= 0 && wants(norm.bias)) add_rows(d, View{}, gradient(norm.bias), run_);
}

void SumSink::head_norm(int gain, const View& x_hat, const View& d, int64_t, const GradientRows&) {
  add_rows(d, x_hat, gradient(gain), run_);
}

void SumSink::gather(int table, const View& ids, const View& d, const GradientRows&) {
  EmbeddingBackwardArgs args;
  args.ids = ids, args.d_y = d, args.d_table = gradient(table);
  dispatch(args, run_);
}

}  // namespace hf
