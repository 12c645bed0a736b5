// Ops whose reference is not written yet. This file must be gone before the first release.
#include "reference/reference.h"

namespace hf::reference {
#define HF_PENDING(Args) \
  template <class Real> void run(const Args&, Run&) { fail(ErrorCode::kUnsupported, "%s: not written yet", Args::kName); } \
  HF_REFERENCE(Args)
HF_PENDING(EmbeddingArgs) HF_PENDING(EmbeddingBackwardArgs)
HF_PENDING(NormArgs) HF_PENDING(NormBackwardArgs) HF_PENDING(NormJvpArgs)
HF_PENDING(RopeArgs)
HF_PENDING(KvAppendArgs)
HF_PENDING(ActivationArgs) HF_PENDING(ActivationBackwardArgs) HF_PENDING(ActivationJvpArgs)
HF_PENDING(SampleTokenArgs)
HF_PENDING(AdamwArgs)
HF_PENDING(ReduceArgs)
HF_PENDING(SumOfSquaresArgs)
}  // namespace hf::reference
