// Gram matrices from rows of gradient pairs, tile by tile: what token_gram, jacobian_gram, embedding_gram and
// tied_gram share.
//   K[s,s'] (+)= Σ_{n ∈ s, n' ∈ s'} factor(n, n') ⟨d_n, d'_n'⟩
// Never materialised: a rows × rows matrix. A block multiplies 64 × 64 rows, forms the products with their
// factors in shared memory and sums them by *fragments* (a function's rows within one tile); fragments ×
// fragments float64 sums go to scratch memory, and a second kernel adds a function's fragments up in order.
// No atomics: the same bits every time.
#pragma once

#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"

namespace hf::cuda {

enum class Factor {
  kOne,      // 1
  kProduct,  // ⟨a_n, a'_n'⟩ + b
  kSameId,   // 1[ids_n = ids'_n']; a pair of tiles that share no id is not multiplied
  kGather,   // g[n, ids'_n' − first_id], 0 outside g's columns
};

struct GramSide {
  Operand d, a;
  const int32_t* ids = nullptr;
  View offsets;  // host memory
  int64_t rows = 0;
};

struct GramProblem {
  Factor factor = Factor::kOne;
  GramSide first, second;
  bool symmetric = false;   // second is first: one half is computed, both are written
  bool symmetrize = false;  // K += X + Xᵀ
  bool accumulate = false;
  int64_t depth = 0, a_depth = 0;
  float bias = 0;
  const float* g = nullptr;  // kGather
  int64_t g_step = 0, g_columns = 0, first_id = 0;
  View gram;  // device memory, any strides
};

void gram_tiles(const GramProblem& problem, Run& run);

// Fragments of one side: rows begin[f] … begin[f + 1] − 1 lie in one tile and belong to one function.
struct Cut {
  const int32_t *begin, *tile_first, *function_first;  // (F+1), (tiles+1), (S+1); device memory
  int32_t count, tiles, functions;
};
Cut cut(const GramSide& side, int tile, Run& run);
int most_fragments(const GramSide& side, int tile);  // of one tile

// out[s, o, i] (+)= scale · Σ_{n ∈ s} d[n, o] a[a_rows[n], i], of the functions whose rows `offsets` says
// (device memory). With `repeats`, r = 0 … R − 1 columns r·O … of d meet columns r·I … of a, and the result
// is out[s, r, o, i].
struct OuterProblem {
  View d, a, a_rows, offsets;  // device memory; (N, O·R), (M, I·R)
  int64_t outputs = 0, inputs = 0, repeats = 1;
  void* out = nullptr;  // null: only squares
  bool bf16 = false;    // out is bfloat16, not float32
  int64_t function_step = 0, repeat_step = 0, output_step = 0, input_step = 0;
  bool accumulate = false;
  float scale = 1;
  double* squares = nullptr;  // (S, tiles) Σ of squares of every tile, tiles as outer_tiles says
};
int64_t outer_tiles(int64_t outputs, int64_t inputs);
void outer_products(const OuterProblem& problem, Run& run);

}  // namespace hf::cuda
