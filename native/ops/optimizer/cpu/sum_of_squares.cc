// Σ x² in float64 (ops/optimizer/sum_of_squares.h): blocks of fixed size in tasks, their sums added in order.
// Bound by memory.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kBlock = 1 << 16;  // numbers squared in about 30 µs

double block_sum(const float* x, int64_t size) {
  Doubles total[4] = {};
  int64_t i = 0;
  const auto add = [&](Floats v, Doubles& low_total, Doubles& high_total) HF_BODY {
    const Doubles low = widen_low(v), high = widen_high(v);
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
  const int64_t P = a.x.shape[0], blocks = (P + kBlock - 1) / kBlock;
  Scratch scratch(r);
  double* partials = scratch.allocate<double>(blocks);
  parallel_for(r, blocks, [&](int64_t task) {
    const int64_t begin = task * kBlock, size = P - begin < kBlock ? P - begin : kBlock;
    partials[task] = block_sum(a.x.as<float>() + begin, size);
  });
  double total = 0;
  for (int64_t i = 0; i < blocks; ++i)
    total += partials[i];
  double& y = *a.y.as<double>();
  y = a.accumulate ? y + total : total;
}

}  // namespace hf::HF_ISA
