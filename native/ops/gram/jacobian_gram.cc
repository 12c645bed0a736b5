#include "ops/gram/jacobian_gram.h"

#include "ops/gram/gram_blocks.h"

namespace hf {

int64_t workspace_bytes(const JacobianGramArgs& a) {
  const int64_t functions = a.offsets.shape[0] - 1 + (a.offsets2 ? a.offsets2.shape[0] - 1 : 0);
  const GradientBlock block = gradient_block(functions, a.d.shape[1], a.a.shape[1], a.max_bytes);
  return 4 * functions * block.outputs * (block.inputs + a.bias);
}

}  // namespace hf
