// Sums over the rows of each function (ops/elementwise/segment_reduce.h). A task owns one function and a
// strip of columns, which it sums on the stack in the order of the rows. Bound by memory.
#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kStrip = 512;  // columns: their sums are 2 KiB of the L1 cache

}  // namespace

void run(const SegmentReduceArgs& args, Run& r) {
  const int64_t functions = args.offsets.shape[0] - 1;
  const int64_t columns = args.x.shape[1];
  const int64_t strips = (columns + kStrip - 1) / kStrip;
  const int32_t* const offsets = args.offsets.as<int32_t>();
  const int32_t* const scale_rows = args.scale_rows.as<int32_t>();
  checkpoint(r);
  parallel_for(r, functions * strips, [&](int64_t task) {
    const int64_t s = task / strips;
    const int64_t c0 = task % strips * kStrip;
    const int64_t count = columns - c0 < kStrip ? columns - c0 : kStrip;
    alignas(64) float sums[kStrip] = {};
    for (int64_t n = offsets[s]; n < offsets[s + 1]; ++n) {
      const float* const x = args.x.as<const float>() + n * args.x.stride[0] + c0;
      const int64_t scale_row = scale_rows ? scale_rows[n] : n;
      const float* const scale =
          args.scale_by ? args.scale_by.as<const float>() + scale_row * args.scale_by.stride[0] + c0
                        : nullptr;
      for (int64_t c = 0; c < count; c += kLanes) {
        const Floats v = load_partial(x + c, count - c);
        store(sums + c, scale ? v * load_partial(scale + c, count - c) + load(sums + c) : v + load(sums + c));
      }
    }
    float* const y = args.y.as<float>() + s * args.y.stride[0] + c0;
    for (int64_t c = 0; c < count; c += kLanes) {
      const Floats total = load(sums + c);
      store_partial(y + c, args.accumulate ? total + load_partial(y + c, count - c) : total, count - c);
    }
  });
}

}  // namespace hf::HF_ISA
