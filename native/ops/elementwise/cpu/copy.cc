// Copies of rows of heads (ops/elementwise/copy.h). Bound by memory: a task owns a block of rows.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;  // numbers copied in about 30 µs

}  // namespace

void run(const CopyArgs& a, Run& r) {
  const int64_t N = a.x.shape[0];
  const int64_t H = a.x.shape[1];
  const int64_t D = a.x.shape[2];
  parallel_rows(r, N, H * D, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t h = 0; h < H; ++h) {
        const float* x = a.x.as<float>() + n * a.x.stride[0] + h * a.x.stride[1];
        float* y = a.y.as<float>() + n * a.y.stride[0] + h * a.y.stride[1];
        __builtin_memcpy(y, x, D * sizeof(float));
      }
  });
}

}  // namespace hf::HF_ISA
