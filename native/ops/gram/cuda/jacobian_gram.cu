// The kernel of one parameter from per-sample gradients. Blocks of them are made by outer_products, their
// Gram matrix by gram.h, until the parameter is done. Large ones in bf16 math: blocks in bfloat16 by batches
// of plain products (cuBLASLt), and their Gram matrix by rows_gram. These are memory bound: a block is
// written and read once, 4 bytes for 2 T + S operations on a number (T rows a function, S functions).
#include <algorithm>
#include <vector>

#include "backends/cuda/cublas.h"
#include "backends/cuda/outer_products.h"
#include "backends/cuda/pack_rows.h"
#include "ops/gram/cuda/gram.h"
#include "ops/gram/cuda/rows_gram.h"
#include "ops/gram/gram_blocks.h"

namespace hf::cuda {
namespace {

// ---- large ones: gradients in bfloat16 by plain products
// ---------------------------------------------------

// Multiply-adds of the gradients from which on batches of products pay, and the least sides of a block:
// estimates, as for gemm, until they are measured.
constexpr double kLeastWork = double(1 << 25);
constexpr int64_t kLeastSide = 64;

int64_t round_up(int64_t x, int64_t unit) {
  return (x + unit - 1) / unit * unit;
}
// `whole` cut into nearly equal parts of at most `room`, whole tiles of a product where they can be; 0 when
// there is no room.
int64_t equal_part(int64_t whole, int64_t room) {
  if (room >= whole) return whole;
  const int64_t unit = room >= 128 ? 128 : 8;
  const int64_t most = room / unit * unit;
  if (most == 0) return 0;
  const int64_t pieces = (whole + most - 1) / most;
  return round_up((whole + pieces - 1) / pieces, unit);
}
// Outputs × inputs of a block: all inputs if there is room for kLeastSide outputs.
GradientBlock bf16_block(int64_t functions, int64_t outputs, int64_t inputs, int64_t max_bytes) {
  const int64_t entries = max_bytes / (2 * std::max<int64_t>(functions, 1));
  GradientBlock block;
  block.inputs = equal_part(inputs, entries / std::min(outputs, kLeastSide));
  block.outputs = block.inputs > 0 ? equal_part(outputs, entries / round_up(block.inputs, 8)) : 0;
  return block;
}

// One set of functions, with the rows of a and d side by side in bfloat16.
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
  return {
      .a = packed(operand_of(a, a_rows), a.shape[1]),
      .d = packed(operand_of(d), d.shape[1]),
      .offsets = host_offsets.as<const int32_t>(),
      .device_offsets = offsets,
      .functions = offsets.shape[0] - 1,
  };
}

// Part of a parameter's matrix: outputs o …, inputs i …. In memory a row of inputs is followed by zeros up to
// `step` numbers, a multiple of 8.
struct Part {
  int64_t o, outputs, i, inputs, step;
};

// The block's gradients of functions `first` … `end` − 1, which all have as many rows.
void equal_gradients(const Side& side, int64_t first, int64_t end, const Part& part, uint16_t* out,
                     Run& run) {
  Stream& stream = stream_of(run);
  const int64_t function_step = part.outputs * part.step;
  const int64_t row0 = side.offsets[first], rows = side.offsets[first + 1] - row0;
  uint16_t* target = out + first * function_step;
  if (rows == 0) {
    stream.fill(target, 0, 2 * (end - first) * function_step);
    return;
  }
  const View a = side.a.slice(0, row0, rows).slice(1, part.i, part.inputs);
  const View d = side.d.slice(0, row0, rows).slice(1, part.o, part.outputs);
  const View gradient = make_view(target, DType::kBF16, part.outputs, part.step);
  Product p;
  p.a = d.transposed();
  p.b = a;
  p.d = gradient.slice(1, 0, part.inputs);
  p.batch = end - first;
  p.a_step = rows * d.stride[0];
  p.b_step = rows * a.stride[0];
  p.d_step = function_step;
  if (blas_product("per-sample gradients (cuBLAS)", stream, p)) return;
  // The library has no algorithm.
  OuterProblem own;
  own.d = side.d.slice(1, part.o, part.outputs);
  own.a = side.a.slice(1, part.i, part.inputs);
  own.offsets = side.device_offsets.slice(0, first, end - first + 1);
  own.outputs = part.outputs;
  own.inputs = part.inputs;
  own.out = target;
  own.bf16 = true;
  own.function_step = function_step;
  own.output_step = part.step;
  own.input_step = 1;
  outer_products(own, run);
}

// Gradients (S, outputs, step) of a block: a batch of products for neighbours of one length.
void block_gradients(const Side& side, const Part& part, uint16_t* out, Run& run) {
  const int64_t numbers = side.functions * part.outputs * part.step;
  if (part.step != part.inputs) stream_of(run).fill(out, 0, 2 * numbers);
  const auto length = [&](int64_t s) { return side.offsets[s + 1] - side.offsets[s]; };
  int64_t end = 0;
  for (int64_t s = 0; s < side.functions; s = end) {
    end = s + 1;
    while (end < side.functions && length(end) == length(s))
      ++end;
    equal_gradients(side, s, end, part, out, run);
  }
}

// Whether the gradients are large enough for plain products.
bool worth_products(const JacobianGramArgs& a, Run& run) {
  const bool second(a.offsets2);
  const int64_t S1 = a.offsets.shape[0] - 1;
  const int64_t S2 = second ? a.offsets2.shape[0] - 1 : 0;
  const int64_t O = a.d.shape[1];
  const int64_t I = a.a.shape[1];
  if (run.math != Math::kBf16 || S1 == 0 || (second && S2 == 0)) return false;
  const double rows = double(a.d.shape[0]) + (second ? double(a.d2.shape[0]) : 0);
  const double work = rows * double(O) * double(I);
  return std::min(O, I) >= kLeastSide && work >= kLeastWork && blas_available();
}

// K of the weights (+)= …, without the bias. False, with nothing done, when it is not worth it.
bool by_cublas(const JacobianGramArgs& host, const JacobianGramArgs& a, Run& run) {
  if (!worth_products(a, run)) return false;
  const bool second(a.offsets2);
  const int64_t S1 = a.offsets.shape[0] - 1;
  const int64_t S2 = second ? a.offsets2.shape[0] - 1 : 0;
  const int64_t O = a.d.shape[1];
  const int64_t I = a.a.shape[1];
  const GradientBlock block = bf16_block(S1 + S2, O, I, a.max_bytes);
  // Equal parts are half as large at worst.
  if (2 * std::min(block.outputs, block.inputs) < kLeastSide) return false;
  const Side one = side_of(a.a, a.a_rows, a.d, host.offsets, a.offsets, run);
  const Side two = second ? side_of(a.a2, a.a_rows2, a.d2, host.offsets2, a.offsets2, run) : Side{};
  bool accumulate = a.accumulate;
  for (int64_t o = 0; o < O; o += block.outputs)
    for (int64_t i = 0; i < I; i += block.inputs) {
      checkpoint(run);
      Scratch scratch(run);
      const int64_t inputs = std::min(block.inputs, I - i);
      const Part part{
          .o = o,
          .outputs = std::min(block.outputs, O - o),
          .i = i,
          .inputs = inputs,
          .step = round_up(inputs, 8),
      };
      RowsGramProblem p;
      p.count = S1;
      p.other_count = S2;
      p.width = part.outputs * part.step;
      p.accumulate = accumulate;
      p.gram = a.gram;
      uint16_t* gradients = device_scratch<uint16_t>(run, (S1 + S2) * p.width);
      uint16_t* gradients2 = gradients + S1 * p.width;
      block_gradients(one, part, gradients, run);
      if (second) block_gradients(two, part, gradients2, run);
      p.rows = gradients;
      p.others = second ? gradients2 : nullptr;
      rows_gram(p, run);
      accumulate = true;
    }
  return true;
}

// ---- the others: gradients in float32 by our own kernels
// ---------------------------------------------------

// One call, whose K is a sum of Gram matrices: each adds to the ones before it.
class Call {
 public:
  Call(const JacobianGramArgs& host, const JacobianGramArgs& a, Run& run)
      : host_(host),
        a_(a),
        run_(run),
        second_(a.offsets2),
        S1_(a.offsets.shape[0] - 1),
        S2_(second_ ? a.offsets2.shape[0] - 1 : 0),
        O_(a.d.shape[1]),
        I_(a.a.shape[1]),
        accumulate_(a.accumulate),
        identity_(size_t(std::max(S1_, S2_)) + 1) {
    for (size_t i = 0; i < identity_.size(); ++i)
      identity_[i] = int32_t(i);
  }

  void run() {
    if (by_cublas(host_, a_, run_))
      accumulate_ = true;
    else
      add_weights();
    // Without inputs or outputs the bias's sum is one of nothing, so that K is written.
    if (a_.bias || I_ == 0 || O_ == 0) add_bias();
  }

 private:
  // K += the Gram matrix of rows of `width` numbers: S1 rows, then S2.
  void add_gram(float* rows, int64_t width) {
    const auto side = [&](float* from, int64_t functions) {
      GramSide s;
      s.d = operand_of(make_view(from, DType::kF32, functions, width));
      s.rows = functions;
      s.offsets = make_view(identity_.data(), DType::kI32, functions + 1);
      return s;
    };
    GramProblem p;
    p.first = side(rows, S1_);
    p.symmetric = !second_;
    if (second_) p.second = side(rows + S1_ * width, S2_);
    p.depth = width;
    p.accumulate = accumulate_;
    p.gram = a_.gram;
    gram_tiles(p, run_);
    accumulate_ = true;
  }

  void add_weights() {
    const GradientBlock block = gradient_block(S1_ + S2_, O_, I_, a_.max_bytes);
    float* gradients = device_scratch<float>(run_, (S1_ + S2_) * block.outputs * block.inputs);
    for (int64_t o = 0; o < O_; o += block.outputs)
      for (int64_t i = 0; i < I_; i += block.inputs) {
        checkpoint(run_);
        Scratch scratch(run_);
        OuterProblem p;
        p.outputs = std::min(block.outputs, O_ - o);
        p.inputs = std::min(block.inputs, I_ - i);
        const int64_t width = p.outputs * p.inputs;
        p.function_step = width;
        p.output_step = p.inputs;
        p.input_step = 1;
        p.out = gradients;
        p.d = a_.d.slice(1, o, p.outputs);
        p.a = a_.a.slice(1, i, p.inputs);
        p.a_rows = a_.a_rows;
        p.offsets = a_.offsets;
        outer_products(p, run_);
        if (second_) {
          p.out = gradients + S1_ * width;
          p.d = a_.d2.slice(1, o, p.outputs);
          p.a = a_.a2.slice(1, i, p.inputs);
          p.a_rows = a_.a_rows2;
          p.offsets = a_.offsets2;
          outer_products(p, run_);
        }
        add_gram(gradients, width);
      }
  }

  // The bias: one more column of the gradients, Σ d.
  void add_bias() {
    const int64_t width = a_.bias ? O_ : 0;
    float* sums = device_scratch<float>(run_, (S1_ + S2_) * width);
    if (width > 0) {
      sum_rows(a_.d, host_.offsets, sums, S1_);
      if (second_) sum_rows(a_.d2, host_.offsets2, sums + S1_ * O_, S2_);
    }
    add_gram(sums, width);
  }
  void sum_rows(const View& d, const View& offsets, float* sums, int64_t functions) {
    SegmentReduceArgs reduce;
    reduce.x = d;
    reduce.offsets = offsets;
    reduce.y = make_view(sums, DType::kF32, functions, O_);
    cuda::run(reduce, run_);
  }

  const JacobianGramArgs& host_;
  const JacobianGramArgs& a_;
  Run& run_;
  const bool second_;
  const int64_t S1_, S2_, O_, I_;
  bool accumulate_;
  std::vector<int32_t> identity_;  // every row is a function of its own
};

}  // namespace

void run(const JacobianGramArgs& args, Run& r) {
  on_device(args, r, [&](const JacobianGramArgs& a, Stream&) { Call(args, a, r).run(); });
}

}  // namespace hf::cuda
