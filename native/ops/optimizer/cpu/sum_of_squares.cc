// Σ x² in float64 (ops/optimizer/sum_of_squares.h). A task owns a block of fixed size; the blocks' sums are
// added in order. Bound by memory.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"
#include "ops/optimizer/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kBlock = cpu::kSquaresBlock;

double block_sum(const float* x, int64_t size) {
  Doubles total[4] = {};
  int64_t i = 0;
  const auto add = [&](Floats v, Doubles& low_total, Doubles& high_total) HF_BODY {
    const Doubles low = widen_low(v);
    const Doubles high = widen_high(v);
    low_total += low * low;
    high_total += high * high;
  };
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    add(load(x + i), total[0], total[1]);
    add(load(x + i + kLanes), total[2], total[3]);
  }
  for (; i < size; i += kLanes)
    add(load_partial(x + i, size - i), total[0], total[1]);
  return sum((total[0] + total[1]) + (total[2] + total[3]));
}

}  // namespace

void run(const SumOfSquaresArgs& a, Run& r) {
  const int64_t P = a.x.shape[0];
  const int64_t blocks = cpu::square_blocks(a);
  Scratch scratch(r);
  double* partials = scratch.allocate<double>(blocks);
  parallel_for(r, blocks, [&](int64_t task) {
    const int64_t begin = task * kBlock;
    partials[task] = block_sum(a.x.as<float>() + begin, cpu::least(kBlock, P - begin));
  });
  double total = 0;
  for (int64_t i = 0; i < blocks; ++i)
    total += partials[i];
  double& y = *a.y.as<double>();
  y = a.accumulate ? y + total : total;
}

}  // namespace hf::HF_ISA
