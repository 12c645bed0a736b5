// Gram matrices from rows of gradient pairs, tile by tile: what token_gram, jacobian_gram, embedding_gram and
// tied_gram share.
//   K[s, s'] (+)= Σ_{n ∈ s, n' ∈ s'} factor(n, n') ⟨d_n, d'_n'⟩
// s and s' are functions; n ∈ s are the rows that belong to one. A matrix of rows × rows is never
// materialised. A block multiplies 64 × 64 pairs of rows and forms the products with their factors in shared
// memory. It then sums them by *fragments*: a fragment is what a function has of one tile's rows. The float64
// sums of fragments × fragments go to scratch memory, and a second kernel adds the fragments of a function up
// in order. There are no atomics, so that the bits are the same every time.
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

// One set of functions: the rows of d, and what the factor takes of each.
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
  int64_t depth = 0;    // of d
  int64_t a_depth = 0;  // kProduct
  float bias = 0;
  const float* g = nullptr;  // kGather
  int64_t g_step = 0;
  int64_t g_columns = 0;
  int64_t first_id = 0;
  View gram;  // device memory, any strides
};

void gram_tiles(const GramProblem& problem, Run& run);

// The fragments of one side for tiles of `tile` rows. Rows begin[f] … begin[f + 1] − 1 are fragment f; they
// lie in one tile and belong to one function.
struct Cut {
  const int32_t* begin;           // (F + 1); all three are device memory
  const int32_t* tile_first;      // (tiles + 1) the first fragment of each tile
  const int32_t* function_first;  // (S + 1) the first fragment of each function
  int32_t count, tiles, functions;
};
Cut cut(const GramSide& side, int tile, Run& run);
// The most fragments that one tile has.
int most_fragments(const GramSide& side, int tile);

}  // namespace hf::cuda
