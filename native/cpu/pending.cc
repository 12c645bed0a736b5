// Ops whose CPU kernel is not written yet: the reference stands in. This file must be gone before the first release.
#include "cpu/isa.h"
#include "reference/reference.h"

namespace hf::HF_ISA {
#define HF_PENDING(Args) void run(const Args& args, Run& r) { reference::run<float>(args, r); }
HF_PENDING(GemmArgs)
HF_PENDING(AttentionArgs) HF_PENDING(AttentionBackwardArgs) HF_PENDING(AttentionJvpArgs)
HF_PENDING(AttentionDecodeArgs)
HF_PENDING(LinearPolicyGradientArgs)
}  // namespace hf::HF_ISA
