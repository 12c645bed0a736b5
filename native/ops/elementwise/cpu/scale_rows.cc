// Rows times numbers (ops/elementwise/scale_rows.h). Bound by memory: a task owns a block of rows.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;  // numbers scaled in about 30 µs

}  // namespace

void run(const ScaleRowsArgs& a, Run& r) {
  const int64_t C = a.x.shape[1];
  parallel_rows(r, a.x.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* x = a.x.as<float>() + n * a.x.stride[0];
      const float scale = a.scale.as<float>()[n];
      each_vector(C, [&](int64_t c, int64_t count)
                         HF_BODY { store_partial(x + c, scale * load_partial(x + c, count), count); });
    }
  });
}

}  // namespace hf::HF_ISA
