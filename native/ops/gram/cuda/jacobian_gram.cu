// The kernel of one parameter from per-sample gradients: blocks of them by outer_products, their Gram matrix
// by gram.h, until the parameter is done. Large ones in bf16 math: blocks in bfloat16 by batches of plain
// products (cuBLASLt), their Gram matrix by rows_gram. Bound by memory there: a block is written and read
// once, 4 bytes for 2 T + S operations on a number (T rows a function, S functions).
#include <algorithm>
#include <vector>

#include "backends/cuda/cublas.h"
#include "backends/cuda/pack_rows.h"
#include "ops/gram/cuda/gram.h"
#include "ops/gram/cuda/rows_gram.h"
#include "ops/gram/gram_blocks.h"

namespace hf::cuda {
namespace {

// Multiply-adds of the gradients from which on batches of products pay, and the least sides of a block:
// estimates, as for gemm, until they are measured.
constexpr double kLeastWork = double(1 << 25);
constexpr int64_t kLeastSide = 64;

// Outputs × inputs of a block: all inputs if there is room for kLeastSide outputs; parts are nearly equal,
// and whole tiles of a product where they can be.
GradientBlock bf16_block(int64_t functions, int64_t outputs, int64_t inputs, int64_t max_bytes) {
  const auto up = [](int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; };
  const auto part = [&](int64_t whole, int64_t room) -> int64_t {
    if (room >= whole) return whole;
    const int64_t unit = room >= 128 ? 128 : 8, most = room / unit * unit;
    if (most == 0) return 0;
    const int64_t pieces = (whole + most - 1) / most;
    return up((whole + pieces - 1) / pieces, unit);
  };
  const int64_t entries = max_bytes / (2 * std::max<int64_t>(functions, 1));
  GradientBlock block;
  block.inputs = part(inputs, entries / std::min(outputs, kLeastSide));
  block.outputs = block.inputs > 0 ? part(outputs, entries / up(block.inputs, 8)) : 0;
  return block;
}

// One set of functions; rows of a and d side by side in bfloat16.
struct Side {
  View a, d;               // (N, I), (N, O)
  const int32_t* offsets;  // host memory
  View device_offsets;
  int64_t functions;
};
Side side_of(const View& a, const View& a_rows, const View& d, const View& host_offsets, const View& offsets,
             Run& run) {
  const int64_t rows = d.shape[0];
  const auto packed = [&](const Operand& operand, int64_t width) {
    return packed_view(pack_rows(operand, rows, width, run), rows, width);
  };
  return {packed(operand_of(a, a_rows), a.shape[1]), packed(operand_of(d), d.shape[1]),
          host_offsets.as<const int32_t>(), offsets, offsets.shape[0] - 1};
}

// Gradients (S, outputs, step) of a block, the first of a row's `step` numbers being its inputs and the rest
// 0.
void block_gradients(const Side& side, int64_t o, int64_t outputs, int64_t i, int64_t inputs, int64_t step,
                     uint16_t* out, Run& run) {
  Stream& stream = stream_of(run);
  const int64_t function_step = outputs * step;
  if (step != inputs) stream.fill(out, 0, 2 * side.functions * function_step);
  // A batch for neighbours of one length.
  for (int64_t s = 0, end; s < side.functions; s = end) {
    const int64_t first = side.offsets[s], rows = side.offsets[s + 1] - first;
    for (end = s + 1; end < side.functions && side.offsets[end + 1] - side.offsets[end] == rows;)
      ++end;
    uint16_t* target = out + s * function_step;
    if (rows == 0) {
      stream.fill(target, 0, 2 * (end - s) * function_step);
      continue;
    }
    Product p;
    const View a = side.a.slice(0, first, rows).slice(1, i, inputs),
               d = side.d.slice(0, first, rows).slice(1, o, outputs);
    p.a = d.transposed(), p.b = a, p.d = make_view(target, DType::kBF16, outputs, step).slice(1, 0, inputs);
    p.batch = end - s, p.a_step = rows * d.stride[0], p.b_step = rows * a.stride[0], p.d_step = function_step;
    if (blas_product("per-sample gradients (cuBLAS)", stream, p)) continue;
    OuterProblem own;  // what the library has no algorithm for
    own.d = side.d.slice(1, o, outputs), own.a = side.a.slice(1, i, inputs),
    own.offsets = side.device_offsets.slice(0, s, end - s + 1);
    own.outputs = outputs, own.inputs = inputs, own.out = target, own.bf16 = true;
    own.function_step = function_step, own.output_step = step, own.input_step = 1;
    outer_products(own, run);
  }
}

// K of the weights (+)= …, without the bias; false, with nothing done, when it is not worth it.
bool by_cublas(const JacobianGramArgs& host, const JacobianGramArgs& a, Run& run) {
  const bool second(a.offsets2);
  const int64_t S1 = a.offsets.shape[0] - 1, S2 = second ? a.offsets2.shape[0] - 1 : 0, O = a.d.shape[1],
                I = a.a.shape[1];
  const double rows = double(a.d.shape[0]) + (second ? double(a.d2.shape[0]) : 0);
  if (run.math != Math::kBf16 || S1 == 0 || (second && S2 == 0) || std::min(O, I) < kLeastSide ||
      rows * double(O) * double(I) < kLeastWork || !blas_available())
    return false;
  const GradientBlock block = bf16_block(S1 + S2, O, I, a.max_bytes);
  if (2 * std::min(block.outputs, block.inputs) < kLeastSide)
    return false;  // equal parts are half as large at worst
  const Side one = side_of(a.a, a.a_rows, a.d, host.offsets, a.offsets, run),
             two = second ? side_of(a.a2, a.a_rows2, a.d2, host.offsets2, a.offsets2, run) : Side{};
  bool accumulate = a.accumulate;
  for (int64_t o = 0; o < O; o += block.outputs)
    for (int64_t i = 0; i < I; i += block.inputs) {
      checkpoint(run);
      Scratch scratch(run);
      const int64_t outputs = std::min(block.outputs, O - o), inputs = std::min(block.inputs, I - i),
                    step = (inputs + 7) / 8 * 8;
      RowsGramProblem p;
      p.count = S1, p.other_count = S2, p.width = outputs * step, p.accumulate = accumulate, p.gram = a.gram;
      uint16_t* gradients = device_scratch<uint16_t>(run, (S1 + S2) * p.width);
      block_gradients(one, o, outputs, i, inputs, step, gradients, run);
      if (second) block_gradients(two, o, outputs, i, inputs, step, gradients + S1 * p.width, run);
      p.rows = gradients, p.others = second ? gradients + S1 * p.width : nullptr;
      rows_gram(p, run);
      accumulate = true;
    }
  return true;
}

}  // namespace

void run(const JacobianGramArgs& args, Run& r) {
  on_device(args, r, [&](const JacobianGramArgs& a, Stream&) {
    const bool second(a.offsets2);
    const int64_t S1 = a.offsets.shape[0] - 1, S2 = second ? a.offsets2.shape[0] - 1 : 0, O = a.d.shape[1],
                  I = a.a.shape[1];
    const GradientBlock block = gradient_block(S1 + S2, O, I, a.max_bytes);
    bool accumulate = a.accumulate;
    std::vector<int32_t> identity(size_t(std::max(S1, S2)) + 1);
    for (size_t i = 0; i < identity.size(); ++i)
      identity[i] = int32_t(i);
    // K += the Gram matrix of rows of length `width`: S1 rows, then S2.
    const auto add_gram = [&](float* rows, int64_t width) {
      GramProblem p;
      const auto side = [&](float* from, int64_t functions) {
        GramSide s;
        s.d = operand_of(make_view(from, DType::kF32, functions, width)), s.rows = functions;
        s.offsets = make_view(identity.data(), DType::kI32, functions + 1);
        return s;
      };
      p.first = side(rows, S1), p.symmetric = !second;
      if (second) p.second = side(rows + S1 * width, S2);
      p.depth = width, p.accumulate = accumulate, p.gram = a.gram;
      gram_tiles(p, r);
      accumulate = true;
    };
    const bool done = by_cublas(args, a, r);
    if (done) accumulate = true;
    float* gradients = done ? nullptr : device_scratch<float>(r, (S1 + S2) * block.outputs * block.inputs);
    for (int64_t o = 0; !done && o < O; o += block.outputs)
      for (int64_t i = 0; i < I; i += block.inputs) {
        checkpoint(r);
        Scratch scratch(r);
        OuterProblem p;
        p.outputs = std::min(block.outputs, O - o), p.inputs = std::min(block.inputs, I - i);
        const int64_t width = p.outputs * p.inputs;
        p.function_step = width, p.output_step = p.inputs, p.input_step = 1;
        p.out = gradients;
        p.d = a.d.slice(1, o, p.outputs), p.a = a.a.slice(1, i, p.inputs), p.a_rows = a.a_rows,
        p.offsets = a.offsets;
        outer_products(p, r);
        if (second) {
          p.out = gradients + S1 * width;
          p.d = a.d2.slice(1, o, p.outputs), p.a = a.a2.slice(1, i, p.inputs), p.a_rows = a.a_rows2,
          p.offsets = a.offsets2;
          outer_products(p, r);
        }
        add_gram(gradients, width);
      }
    if (!a.bias && I > 0 && O > 0) return;
    // The bias: one more column, Σ d. (Without inputs or outputs a sum of nothing, so that K is written.)
    const int64_t width = a.bias ? O : 0;
    float* sums = device_scratch<float>(r, (S1 + S2) * width);
    SegmentReduceArgs reduce;
    if (width) {
      reduce.x = a.d, reduce.offsets = args.offsets, reduce.y = make_view(sums, DType::kF32, S1, O);
      run(reduce, r);
      if (second) {
        reduce.x = a.d2, reduce.offsets = args.offsets2,
        reduce.y = make_view(sums + S1 * O, DType::kF32, S2, O);
        run(reduce, r);
      }
    }
    add_gram(sums, width);
  });
}

}  // namespace hf::cuda
