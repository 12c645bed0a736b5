#include "backends/reference/reference.h"

namespace hf::reference {

template <class Real>
void run(const SegmentReduceArgs& args, Run&) {
  const int32_t* offsets = args.offsets.as<int32_t>();
  for (int64_t s = 0; s + 1 < args.offsets.shape[0]; ++s)
    for (int64_t c = 0; c < args.x.shape[1]; ++c) {
      Real sum = 0;
      for (int64_t n = offsets[s]; n < offsets[s + 1]; ++n) {
        const int64_t row = args.scale_rows ? args.scale_rows.as<int32_t>()[n] : n;
        const Real x = args.x.as<Real>()[n * args.x.stride[0] + c];
        const Real scale =
            args.scale_by ? args.scale_by.as<Real>()[row * args.scale_by.stride[0] + c] : Real(1);
        sum += x * scale;
      }
      Real& y = args.y.as<Real>()[s * args.y.stride[0] + c];
      y = args.accumulate ? y + sum : sum;
    }
}

HF_REFERENCE(SegmentReduceArgs)

}  // namespace hf::reference
