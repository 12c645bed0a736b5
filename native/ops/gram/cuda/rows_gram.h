// The Gram matrix of few long rows of bfloat16: K[s, u] (+)= ⟨rows_s, others_u⟩. jacobian_gram makes such
// rows.
#pragma once

#include "core/view.h"
#include "runtime/run.h"

namespace hf::cuda {

struct RowsGramProblem {
  const uint16_t* rows = nullptr;  // (count, width), one after the other
  // (other_count, width). Null means the same rows: then one half is computed, and both are written.
  const uint16_t* others = nullptr;
  int64_t count = 0;
  int64_t other_count = 0;
  int64_t width = 0;  // a multiple of 8
  bool accumulate = false;
  View gram;  // device memory, any strides
};
// Numbers of a row that are multiplied and summed in float32 before they are added in float64.
constexpr int64_t kRowsGramDepth = 4096;

void rows_gram(const RowsGramProblem& problem, Run& run);

}  // namespace hf::cuda
