// How much every sample of a batch moves the token followed at every probe, by component.
//
// One step of plain ascent moves log π(y | s) by η ⟨∇ log π(y | s), ∇J⟩, J = (1/N) Σ_i r̂_i f_i (A. Tomihari,
// arXiv 2601.04670), so sample i contributes
//   η r̂_i / N · K[s, i],   K[s, i] = ⟨∇ log π(y | s), ∇f_i⟩
// and K splits into the representation, the gradient and the cross component (ntk/gram.h).
#pragma once

#include <vector>

#include "analysis/tangents.h"
#include "ntk/gram.h"

namespace hf {

// Contributions (n probes, N samples), row by row.
struct Influences {
  std::vector<double> representation, gradient, cross;
};

struct InfluenceOptions {
  Functions samples;      // f_i, one function per sample
  int64_t max_bytes = 0;  // working memory of the kernel
};

// targets: the token followed at every prefix. factors[i] = η r̂_i / N. Only parameters that train move.
Influences influences(const Model& model, const Prefixes& prefixes, const std::vector<int64_t>& targets,
                      const InfluenceOptions& options, const std::vector<double>& factors, Run& run);

}  // namespace hf
