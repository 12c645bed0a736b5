// How linear_policy_gradient cuts its work on the CPU: rows into chunks, the vocabulary into tiles. The cuts
// follow from shapes and arguments only, never from the thread count, so that any number of threads gives the
// same bits, and a row's results do not depend on the rows that it is called with.
//
// With gradients a chunk of rows keeps its logits for the whole vocabulary. The other way, tiles of both and
// logits computed a second time once the row's sum is known, costs 8NVC instead of 6NVC. Every chunk reads W
// twice and d_weight once more, and copies W into GEMM panels, so a chunk must be tall: 256 rows hide that,
// and at V 50304 they are the 52 MB that are allowed.
#pragma once

#include "ops/loss/linear_policy_gradient.h"

namespace hf::loss {

struct RowChunks {
  int64_t tile = 0, tiles = 0;  // columns of the vocabulary at a time; the last tile has what is left
  int64_t rows = 0;             // of a chunk that keeps its logits
  int64_t forward_rows = 0;     // of a chunk that keeps one tile
  int64_t stride = 0;  // between the rows of a tile: off the powers of two, which collide in the cache
  bool gradients = false, exact = false;
  bool keep = false;  // all tiles of a chunk live at once

  HF_INLINE explicit RowChunks(const LinearPolicyGradientArgs& a) {
    const int64_t N = a.hidden.shape[0], V = a.weight.shape[0];
    gradients = a.d_hidden || a.d_weight || a.d_bias;
    exact = static_cast<bool>(a.ref_hidden);
    keep = gradients || exact;
    tiles = (V + kMostColumns - 1) / kMostColumns;
    tile = tiles > 0 ? ((V + tiles - 1) / tiles + 31) / 32 * 32 : 0;
    stride = tile + 16;

    const int64_t columns = (exact ? 2 : 1) * tiles * stride;
    const int64_t fit = columns > 0 ? kFloats / columns : kMostRows;
    const int64_t most = V <= kSmallVocabulary ? kMostRows : kRows;
    rows = even(N, fit < kFewestRows ? kFewestRows : fit > most ? most : fit);
    forward_rows = even(N, kMostRows);
  }

  // The rows of one chunk.
  HF_INLINE int64_t held_rows() const { return keep ? rows : forward_rows; }
  // The float32s of one chunk's logits, the reference's included.
  HF_INLINE int64_t floats() const {
    const int64_t held_tiles = keep ? tiles * (exact ? 2 : 1) : 1;
    return held_rows() * stride * held_tiles;
  }

 private:
  static constexpr int64_t kMostColumns = 2048;
  static constexpr int64_t kRows = 256;
  static constexpr int64_t kMostRows = 1024;
  static constexpr int64_t kFewestRows = 64;
  static constexpr int64_t kSmallVocabulary = 512;
  static constexpr int64_t kFloats = 13'100'000;

  // N cut into pieces of at most `most`, all about the same, in multiples of 4.
  HF_INLINE static int64_t even(int64_t N, int64_t most) {
    const int64_t pieces = (N + most - 1) / most;
    const int64_t piece = pieces > 0 ? (N + pieces - 1) / pieces : 0;
    return (piece + 3) / 4 * 4;
  }
};

}  // namespace hf::loss
