// Column sums (ops/elementwise/reduce.h). A task owns a block of rows, which it sums eight at a time as a
// tree into a partial row that stays in the cache; rows are read in the order they lie. The partial rows are
// then added in order. Memory: one row a block (cpu::ReduceBlocks).
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"
#include "ops/elementwise/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kRows = cpu::ReduceBlocks::kRows;

// partial[c] = Σ over rows [begin, end).
template <bool kScaled>
HF_INLINE void sum_rows(const ReduceArgs& a, int64_t begin, int64_t end, float* partial) {
  const int64_t C = a.x.shape[1];
  const int64_t stride = a.x.stride[0];
  const int64_t scale_stride = a.scale_by.stride[0];
  each_vector(C, [&](int64_t c, int64_t count) HF_BODY { store_partial(partial + c, zero(), count); });
  int64_t n = begin;
  for (; n + kRows <= end; n += kRows) {
    const float* x = a.x.as<float>() + n * stride;
    const float* scale_by = a.scale_by.as<float>() + n * scale_stride;
    each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
      Floats v[kRows];
      for (int64_t i = 0; i < kRows; ++i) {
        v[i] = load_partial(x + i * stride + c, count);
        if constexpr (kScaled) v[i] *= load_partial(scale_by + i * scale_stride + c, count);
      }
      const Floats total = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
      store_partial(partial + c, load_partial(partial + c, count) + total, count);
    });
  }
  for (; n < end; ++n) {
    const float* x = a.x.as<float>() + n * stride;
    const float* scale_by = a.scale_by.as<float>() + n * scale_stride;
    each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
      Floats v = load_partial(x + c, count);
      if constexpr (kScaled) v *= load_partial(scale_by + c, count);
      store_partial(partial + c, load_partial(partial + c, count) + v, count);
    });
  }
}

}  // namespace

void run(const ReduceArgs& a, Run& r) {
  const int64_t N = a.x.shape[0];
  const int64_t C = a.x.shape[1];
  const cpu::ReduceBlocks blocks(a);
  Scratch scratch(r);
  float* partials = scratch.allocate<float>(blocks.floats());
  parallel_for(r, blocks.count, [&](int64_t task) {
    const int64_t begin = task * blocks.rows;
    const int64_t end = cpu::least(begin + blocks.rows, N);
    if (a.scale_by)
      sum_rows<true>(a, begin, end, partials + task * C);
    else
      sum_rows<false>(a, begin, end, partials + task * C);
  });
  float* y = a.y.as<float>();
  each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
    Floats total = zero();
    for (int64_t i = 0; i < blocks.count; ++i)
      total += load_partial(partials + i * C + c, count);
    store_partial(y + c, a.accumulate ? load_partial(y + c, count) + total : total, count);
  });
}

}  // namespace hf::HF_ISA
