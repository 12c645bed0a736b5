// Ops whose reference is not written yet. This file must be gone before the first release.
#include "reference/reference.h"

namespace hf::reference {
#define HF_PENDING(Args) \
  template <class Real> void run(const Args&, Run&) { fail(ErrorCode::kUnsupported, "%s: not written yet", Args::kName); } \
  HF_REFERENCE(Args)
HF_PENDING(AttentionArgs) HF_PENDING(AttentionBackwardArgs) HF_PENDING(AttentionJvpArgs)
HF_PENDING(AttentionDecodeArgs)
HF_PENDING(LinearPolicyGradientArgs)
}  // namespace hf::reference
