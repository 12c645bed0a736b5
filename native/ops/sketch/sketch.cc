#include "ops/sketch/sketch.h"

#include <algorithm>

#include "ops/gram/gram_blocks.h"

namespace hf {

int64_t workspace_bytes(const SketchArgs& a) {
  const int64_t left = a.sketches.shape[1] * a.left,
                right = a.sketches.shape[1] * (a.sketches.shape[2] / a.left);
  return 4 * (kSketchColumns * std::max(left, right) + (a.a ? a.a.shape[0] : 1) * right +
              std::min(sketch_rows(a), kSketchRows) * left);
}

}  // namespace hf
