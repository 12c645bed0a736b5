// Sums of outer products, function by function: what per-sample gradients of a linear layer are, and what
// jacobian_gram and sketch are made of too.
//   out[s, o, i] (+)= scale · Σ_{n ∈ s} d[n, o] a[a_rows[n], i]
// n ∈ s are the rows offsets[s] … offsets[s + 1] − 1. With `repeats`, columns r·O … of d meet columns r·I …
// of a for r = 0 … R − 1, and the result is out[s, r, o, i].
#pragma once

#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"

namespace hf::cuda {

struct OuterProblem {
  View d;        // (N, O·R); all views are device memory
  View a;        // (M, I·R)
  View a_rows;   // (N), or absent: row n of a belongs to row n of d
  View offsets;  // (S + 1)
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t repeats = 1;
  void* out = nullptr;  // null: only squares are wanted
  bool bf16 = false;    // out is bfloat16, not float32
  int64_t function_step = 0;
  int64_t repeat_step = 0;
  int64_t output_step = 0;
  int64_t input_step = 0;
  bool accumulate = false;
  float scale = 1;
  double* squares = nullptr;  // (S, tiles) Σ of squares of every tile; outer_tiles() says how many tiles
};

int64_t outer_tiles(int64_t outputs, int64_t inputs);
void outer_products(const OuterProblem& problem, Run& run);

}  // namespace hf::cuda
