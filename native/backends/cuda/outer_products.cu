// Sums of outer products (outer_products.h). A block owns a 64 × 64 tile of one function's matrix at a time,
// each of its 4 warps 32 × 32 of it; the summed index is the function's rows. Shared memory: 54 KiB of stages
// and 32 bytes. Compute bound for long functions (16 multiply-adds a byte); short ones are bound by writing 4
// bytes a number.
#include "backends/cuda/outer_products.h"

#include "backends/cuda/rows.h"

namespace hf::cuda {
namespace {

using Shape = SmallBlock;

struct Outer {
  Operand d, a;  // rows: outputs, inputs; depth: rows of the functions
  const int32_t* offsets;
  int64_t functions, outputs, inputs, repeats;
  void* out;
  int64_t function_step, repeat_step, output_step, input_step;
  bool bf16, accumulate;
  float scale;
  double* squares;
};

// out[at] (+)= value
HF_DEVICE void put(const Outer& p, int64_t at, float value) {
  if (p.bf16) {
    uint16_t* target = static_cast<uint16_t*>(p.out) + at;
    *target = uint16_t(to_bf16x2(p.accumulate ? from_bf16(*target) + value : value, 0.0f));
  } else {
    float* target = static_cast<float*>(p.out) + at;
    *target = p.accumulate ? *target + value : value;
  }
}

template <Math math>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) outer_kernel(Outer p) {
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  const Shared<double> room = memory.take<double>(Shape::kThreads / kWarp);
  const int64_t o0 = int64_t(blockIdx.y) * Shape::kRows;
  const int64_t i0 = int64_t(blockIdx.x) * Shape::kColumns;
  for (int64_t b = blockIdx.z; b < p.functions * p.repeats; b += gridDim.z) {
    const int64_t s = b / p.repeats, r = b % p.repeats;
    float acc[Shape::kMT][Shape::kNT][4];
    clear(acc);
    block_product<math, Shape>(acc, stages, p.d, r * p.outputs + o0, (r + 1) * p.outputs, p.a,
                               r * p.inputs + i0, (r + 1) * p.inputs, p.offsets[s], p.offsets[s + 1]);
    double sum = 0;
    each_entry<Shape>(acc, [&](int row, int column, float value) {
      const int64_t o = o0 + row, i = i0 + column;
      if (o >= p.outputs || i >= p.inputs) return;
      sum += double(value) * double(value);
      if (!p.out) return;
      const int64_t at = s * p.function_step + r * p.repeat_step + o * p.output_step + i * p.input_step;
      put(p, at, p.scale * value);
    });
    if (!p.squares) continue;
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) p.squares[(s * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
  }
}

}  // namespace

int64_t outer_tiles(int64_t outputs, int64_t inputs) {
  return int64_t{blocks(outputs, Shape::kRows)} * blocks(inputs, Shape::kColumns);
}

void outer_products(const OuterProblem& problem, Run& run) {
  Outer p{};
  // (outputs, rows) and (inputs, rows): the index of shared rows of a runs along the depth.
  p.d = operand_of(problem.d.transposed());
  p.a = operand_of(problem.a.transposed());
  p.d.vectors = p.a.vectors = false;
  p.a.depth_index = problem.a_rows.as<const int32_t>();
  p.offsets = problem.offsets.as<const int32_t>();
  p.functions = problem.offsets.shape[0] - 1;
  p.outputs = problem.outputs;
  p.inputs = problem.inputs;
  p.repeats = problem.repeats;
  p.out = problem.out;
  p.bf16 = problem.bf16;
  p.function_step = problem.function_step;
  p.repeat_step = problem.repeat_step;
  p.output_step = problem.output_step;
  p.input_step = problem.input_step;
  p.accumulate = problem.accumulate;
  p.scale = problem.scale;
  p.squares = problem.squares;
  const int64_t batch = p.functions * p.repeats;
  const dim3 grid(blocks(p.inputs, Shape::kColumns), blocks(p.outputs, Shape::kRows),
                  unsigned(batch < 65535 ? batch : 65535));
  constexpr int kShared = Shape::kSharedBytes + Shape::kThreads / kWarp * int(sizeof(double));
  with_math(run.math, [&](auto tag) {
    launch("per-sample gradients", outer_kernel<tag.math>, grid, Shape::kThreads, kShared, stream_of(run), p);
  });
}

}  // namespace hf::cuda
