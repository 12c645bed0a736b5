// Scratch memory of the loss kernels (backends/cpu/scratch.h).
#pragma once

#include "ops/linear/cpu/scratch.h"
#include "ops/loss/linear_policy_gradient.h"

namespace hf::cpu {

// Rows of a chunk and columns of a tile, at most: what the products inside the kernel are made of.
constexpr int64_t kMostChunkRows = 1024;
constexpr int64_t kMostVocabularyTile = 2048;

// The vocabulary is cut into tiles of equal width.
inline int64_t tile_columns(int64_t vocabulary) {
  const int64_t tiles = divide_up(vocabulary, kMostVocabularyTile);
  return tiles > 0 ? least(round_up(divide_up(vocabulary, tiles), 32), vocabulary) : 0;
}

// The logits of a chunk with its statistics, and the packed panels of the largest product.
inline int64_t scratch_bytes(const LinearPolicyGradientArgs& a, int64_t) {
  const int64_t rows = least(a.hidden.shape[0], kMostChunkRows);
  const int64_t columns = tile_columns(a.weight.shape[0]);
  int64_t product = gemm_scratch_bytes(rows, a.hidden.shape[1]);
  if (a.ref_hidden) product = greatest(product, gemm_scratch_bytes(rows, a.ref_hidden.shape[1]));
  if (a.d_hidden) product = greatest(product, gemm_scratch_bytes(rows, columns));
  if (a.d_weight) product = greatest(product, gemm_scratch_bytes(columns, rows));
  return workspace_bytes(a) + product;
}

}  // namespace hf::cpu
