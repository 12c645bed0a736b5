// Ops whose CPU kernel is not written yet: the reference stands in. This file must be gone before the first release.
#include "cpu/isa.h"
#include "reference/reference.h"

namespace hf::HF_ISA {
#define HF_PENDING(Args) void run(const Args& args, Run& r) { reference::run<float>(args, r); }
HF_PENDING(EmbeddingArgs) HF_PENDING(EmbeddingBackwardArgs)
HF_PENDING(NormArgs) HF_PENDING(NormBackwardArgs) HF_PENDING(NormJvpArgs)
HF_PENDING(RopeArgs)
HF_PENDING(AttentionArgs) HF_PENDING(AttentionBackwardArgs) HF_PENDING(AttentionJvpArgs)
HF_PENDING(AttentionDecodeArgs)
HF_PENDING(KvAppendArgs)
HF_PENDING(ActivationArgs) HF_PENDING(ActivationBackwardArgs) HF_PENDING(ActivationJvpArgs)
HF_PENDING(LinearPolicyGradientArgs)
HF_PENDING(SampleTokenArgs)
HF_PENDING(AdamwArgs)
HF_PENDING(ReduceArgs)
HF_PENDING(SumOfSquaresArgs)
}  // namespace hf::HF_ISA
