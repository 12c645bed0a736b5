// Scratch memory of the Gram kernels (backends/cpu/scratch.h).
#pragma once

#include "ops/gram/embedding_gram.h"
#include "ops/gram/gram_blocks.h"
#include "ops/gram/jacobian_gram.h"
#include "ops/gram/tied_gram.h"
#include "ops/gram/token_gram.h"
#include "ops/linear/cpu/scratch.h"

namespace hf::cpu {

// Functions of a set, and of both sets; an absent second set is no other functions.
HF_INLINE int64_t functions_of(const View& offsets) {
  return offsets ? offsets.shape[0] - 1 : 0;
}
template <class Args>
HF_INLINE int64_t all_functions(const Args& a) {
  return functions_of(a.offsets) + functions_of(a.offsets2);
}

// ---- token_gram and tied_gram: where blocks of functions begin --------------------------------------------

HF_INLINE int64_t scratch_bytes(const TokenGramArgs& a, int64_t) {
  const int64_t second = a.offsets2 ? bytes_of<int32_t>(functions_of(a.offsets2) + 1) : 0;
  return bytes_of<int32_t>(functions_of(a.offsets) + 1) + second;
}
HF_INLINE int64_t scratch_bytes(const TiedGramArgs& a, int64_t) {
  const int64_t functions1 = functions_of(a.offsets);
  const int64_t functions2 = functions_of(a.offsets2);
  return bytes_of<int32_t>(functions1 + 1) + bytes_of<int32_t>(functions2 + 1) +
         bytes_of<double>(functions1 * functions2);  // summed before it is symmetrized and added
}

// ---- jacobian_gram: blocks of per-sample gradients --------------------------------------------------------

struct JacobianGramSizes {
  int64_t functions;  // of both sets
  GradientBlock block;
  int64_t width;  // entries of a block, with the bias's
  int64_t threads;

  HF_INLINE JacobianGramSizes(const JacobianGramArgs& a, int64_t most_threads)
      : functions(all_functions(a)),
        block(gradient_block(functions, a.d.shape[1], a.a.shape[1], a.max_bytes)),
        width(block.outputs * (block.inputs + a.bias)),
        threads(least(most_threads, functions)) {}

  HF_INLINE int64_t gradients() const { return functions * width; }
  HF_INLINE int64_t packed() const { return pack_floats(block.outputs, block.inputs); }  // of a thread
};

HF_INLINE int64_t scratch_bytes(const JacobianGramArgs& a, int64_t threads) {
  const JacobianGramSizes sizes(a, threads);
  return bytes_of<float>(sizes.gradients()) + bytes_of<float>(sizes.threads * sizes.packed());
}

// ---- embedding_gram: an index of the rows, and sums -------------------------------------------------------

constexpr int64_t kEmbeddingSumBytes = int64_t{4} << 20;

// The rows of one function that use one id: entries [begin, begin + count) of the order.
struct EmbeddingUse {
  int32_t id;
  int32_t function;
  int32_t begin;
  int32_t count;
};

// Sums that exist at once: 4 MiB of them, and at least one id's.
HF_INLINE int64_t embedding_sums(const EmbeddingGramArgs& a) {
  return greatest(all_functions(a), kEmbeddingSumBytes / (4 * greatest(a.d.shape[1], 1)));
}
// Order, uses, functions and sums of the rows of one set.
HF_INLINE int64_t embedding_index_bytes(int64_t rows) {
  return 2 * bytes_of<int32_t>(rows) + bytes_of<EmbeddingUse>(rows) + bytes_of<const float*>(rows);
}
HF_INLINE int64_t scratch_bytes(const EmbeddingGramArgs& a, int64_t) {
  const int64_t second = a.offsets2 ? embedding_index_bytes(a.ids2.shape[0]) : 0;
  return embedding_index_bytes(a.ids.shape[0]) + second + bytes_of<float>(embedding_sums(a) * a.d.shape[1]);
}

}  // namespace hf::cpu
