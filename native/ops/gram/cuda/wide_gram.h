// Gram tiles in bfloat16 on Hopper: the problems of gram.h whose factor is ⟨a, a'⟩ + b or 1, with both
// products of a pair of rows made by wide.h.
#pragma once

#include "ops/gram/cuda/gram.h"

namespace hf::cuda {

// Whether wide_gram takes the problem: it must be large enough to fill the chip, and its functions must have
// eight rows or more on average in every tile. The emulated device has no Hopper code.
#ifdef HF_CUDA_EMULATED
inline bool wide_gram_fits(const GramProblem&, Run&) {
  return false;
}
inline void wide_gram(const GramProblem&, Run&) {}
#else
bool wide_gram_fits(const GramProblem& problem, Run& run);
void wide_gram(const GramProblem& problem, Run& run);
#endif

}  // namespace hf::cuda
