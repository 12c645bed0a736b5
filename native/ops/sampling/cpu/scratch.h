// Scratch memory of op sample_token (backends/cpu/scratch.h).
#pragma once

#include "backends/cpu/scratch.h"
#include "ops/sampling/sample_token.h"

namespace hf::cpu {

// A logit and whose it is.
struct Candidate {
  float logit;
  int32_t id;
};

// How the rows are shared out among tasks, and what a task holds.
struct SampleTokenSizes {
  static constexpr int64_t kGrain = 1 << 14;  // logits in about 30 µs
  static constexpr int64_t kMostTasks = 64;   // each has scratch memory of its own
  static constexpr int64_t kBlock = 128;      // ids whose probabilities are summed together

  int64_t rows;  // of a task
  int64_t tasks;
  int64_t blocks;      // of ids
  int64_t candidates;  // the heap of top_k, or at most all logits for the bin that top_p sorts

  HF_INLINE explicit SampleTokenSizes(const SampleTokenArgs& a) {
    const int64_t B = a.logits.shape[0];
    const int64_t V = a.logits.shape[1];
    rows = greatest(kGrain / greatest(V, 1), greatest(divide_up(B, kMostTasks), 1));
    tasks = divide_up(B, rows);
    blocks = divide_up(V, kBlock);
    candidates = a.top_k > 0 && a.top_k < V ? a.top_k : a.top_p < 1 ? V : 0;
  }
};

HF_INLINE int64_t scratch_bytes(const SampleTokenArgs& a, int64_t) {
  if (a.logits.shape[0] == 0) return 0;
  const SampleTokenSizes sizes(a);
  return bytes_of<double>(sizes.tasks * sizes.blocks) + bytes_of<Candidate>(sizes.tasks * sizes.candidates) +
         bytes_of<int64_t>(sizes.tasks);
}

}  // namespace hf::cpu
