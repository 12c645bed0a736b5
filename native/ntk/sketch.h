// Gram matrices estimated from random projections of per-sample gradients (ops sketch and sketch_gram):
// memory per function is R·K numbers whatever the model's size, and a second set is compared without running
// the first again.
#pragma once

#include "ntk/gram.h"
#include "ops/sketch/sketch.h"

namespace hf {

struct SketchOptions {
  int64_t repeats = 32;  // R
  int64_t size = 64;     // K
  int64_t left = 8;      // rows of the left factor; divides size
  int64_t seed = 0;
  Projection projection = Projection::kRademacher;
  double confidence = 0.99;
  std::vector<bool> wanted;
  int64_t max_bytes = 0;
};

// estimate, half_width (F1, F2) float64, of ⟨∇f, ∇f'⟩ over the wanted parameters; without `second` symmetric.
void sketched_gram(const Model& model, const Functions& first, const Functions* second,
                   const SketchOptions& options, const View& estimate, const View& half_width, Run& run);

}  // namespace hf
