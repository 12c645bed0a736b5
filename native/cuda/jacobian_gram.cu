// The kernel of one parameter from per-sample gradients: blocks of them by outer_products, their Gram matrix by gram.h, until the parameter is done.
#include <algorithm>
#include <vector>

#include "cuda/gram.h"
#include "kernels/detail/gram_blocks.h"

namespace hf::cuda {

void run(const JacobianGramArgs& args, Run& r) {
  on_device(args, r, [&](const JacobianGramArgs& a, Stream&) {
    const bool second(a.offsets2);
    const int64_t S1 = a.offsets.shape[0] - 1, S2 = second ? a.offsets2.shape[0] - 1 : 0, O = a.d.shape[1], I = a.a.shape[1];
    const GradientBlock block = gradient_block(S1 + S2, O, I, a.max_bytes);
    bool accumulate = a.accumulate;
    std::vector<int32_t> identity(size_t(std::max(S1, S2)) + 1);
    for (size_t i = 0; i < identity.size(); ++i) identity[i] = int32_t(i);
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
    float* gradients = device_scratch<float>(r, (S1 + S2) * block.outputs * block.inputs);
    for (int64_t o = 0; o < O; o += block.outputs)
      for (int64_t i = 0; i < I; i += block.inputs) {
        checkpoint(r);
        Scratch scratch(r);
        OuterProblem p;
        p.outputs = std::min(block.outputs, O - o), p.inputs = std::min(block.inputs, I - i);
        const int64_t width = p.outputs * p.inputs;
        p.function_step = width, p.output_step = p.inputs, p.input_step = 1;
        p.out = gradients;
        p.d = a.d.slice(1, o, p.outputs), p.a = a.a.slice(1, i, p.inputs), p.a_rows = a.a_rows, p.offsets = a.offsets;
        outer_products(p, r);
        if (second) {
          p.out = gradients + S1 * width;
          p.d = a.d2.slice(1, o, p.outputs), p.a = a.a2.slice(1, i, p.inputs), p.a_rows = a.a_rows2, p.offsets = a.offsets2;
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
        reduce.x = a.d2, reduce.offsets = args.offsets2, reduce.y = make_view(sums + S1 * O, DType::kF32, S2, O);
        run(reduce, r);
      }
    }
    add_gram(sums, width);
  });
}

}  // namespace hf::cuda
