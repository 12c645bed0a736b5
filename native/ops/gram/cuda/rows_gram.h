// The Gram matrix of few long rows of bfloat16.
#pragma once

#include "core/view.h"
#include "runtime/run.h"

namespace hf::cuda {

struct RowsGramProblem {
  const uint16_t* rows = nullptr;  // (count, width), one after the other
  const uint16_t* others =
      nullptr;  // (other_count, width); null: the same rows, one half is computed, both are written
  int64_t count = 0, other_count = 0;
  int64_t width = 0;  // a multiple of 8
  bool accumulate = false;
  View gram;  // device memory, any strides
};
// Numbers of a row that are multiplied and summed in float32 before they are added in float64.
constexpr int64_t kRowsGramDepth = 4096;

void rows_gram(const RowsGramProblem& problem, Run& run);

}  // namespace hf::cuda
