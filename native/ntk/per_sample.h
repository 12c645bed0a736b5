// Per-sample gradients as a matrix: row s is the gradient of function s over the wanted parameters, in the
// model's order.
#pragma once

#include "ntk/pairs.h"

namespace hf {

// Where each wanted parameter begins in a row; −1: not wanted. `width` is the row's length.
struct GradientLayout {
  GradientLayout(const Model& model, const std::vector<bool>& wanted);
  std::vector<int64_t> begin;
  int64_t width = 0;
};

// gradients (F, width), zeroed here; rows may be apart. The classifier of a tied model adds to the
// embedding's columns.
void per_sample_gradients(const FunctionBlock& block, const std::vector<bool>& wanted, const View& gradients);

}  // namespace hf
