#include "kernels/linear_policy_gradient.h"

namespace hf {

void check_args(const LinearPolicyGradientArgs&) {}
int64_t workspace_bytes(const LinearPolicyGradientArgs&) { return 0; }
Cost cost(const LinearPolicyGradientArgs& a) {
  const double n = double(a.hidden.shape[0]), c = double(a.hidden.shape[1]), v = double(a.weight.shape[0]);
  return {2 * n * v * c * (1 + bool(a.d_hidden) + bool(a.d_weight)), 4 * (n * c * 2 + v * c * 2)};
}

}  // namespace hf
