// Scratch memory of the attention kernels (backends/cpu/scratch.h). A task has memory of its own: tiles of
// its sequence, and what it knows of its query rows. Tiles are float32; a `wide` row holds one number per row
// of a tile, a `deep` row one per dimension of a head.
#pragma once

#include "backends/cpu/scratch.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_decode.h"
#include "ops/attention/rope.h"

namespace hf::cpu {

constexpr int64_t kKeyTile = 128;        // keys between two rescalings of the online softmax
constexpr int64_t kDerivativeTile = 64;  // rows of a tile in the backward pass and in the jvp
constexpr int64_t kMostBlockRows = 12;   // rows of a result block in registers, at most

// A tile of rows of one sequence: rows [first + tile · size, …) of the `length` that begin at `first`.
struct SequenceTile {
  int64_t first;
  int64_t length;
  int64_t tile;
};

// Tiles of `size` rows in all sequences together.
HF_INLINE int64_t count_tiles(const View& offsets, int64_t size) {
  const int32_t* offset = offsets.as<int32_t>();
  int64_t count = 0;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s)
    count += divide_up(offset[s + 1] - offset[s], size);
  return count;
}

// The longest sequence, at most `limit`.
HF_INLINE int64_t longest_sequence(const View& offsets, int64_t limit) {
  const int32_t* offset = offsets.as<int32_t>();
  int64_t length = 0;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s)
    length = greatest(length, offset[s + 1] - offset[s]);
  return least(length, limit);
}

// The distance of the rows of a packed tile: whole vectors and an odd number of 64-byte lines, so that the
// numbers of one column lie in different sets of the cache.
HF_INLINE int64_t tile_stride(int64_t columns) {
  return (divide_up(columns, 16) | 1) * 16;
}

// Floats of one task's memory, a multiple of a line.
HF_INLINE int64_t task_room(int64_t floats) {
  return round_up(floats, 16);
}
// Bytes for all tasks that run at the same time.
HF_INLINE int64_t task_bytes(int64_t tasks, int64_t floats, int64_t threads) {
  const int64_t workers = least(threads, tasks);
  return workers > 0 ? bytes_of<float>(workers * task_room(floats)) : 0;
}

// What a task of op attention holds.
struct AttentionSizes {
  int64_t D;
  int64_t size;        // rows of the longest tile
  int64_t per_group;   // query heads of one key/value head
  int64_t keys_row;    // between the rows of kᵀ and of the scores
  int64_t values_row;  // between the rows of v

  HF_INLINE explicit AttentionSizes(const AttentionArgs& a)
      : D(a.q.shape[2]),
        size(longest_sequence(a.offsets, kKeyTile)),
        per_group(a.q.shape[1] / a.k.shape[1]),
        keys_row(tile_stride(size)),
        values_row(tile_stride(D)) {}

  HF_INLINE int64_t keys() const { return D * keys_row; }
  HF_INLINE int64_t values() const { return size * values_row; }
  HF_INLINE int64_t scores() const { return kMostBlockRows * keys_row; }
  HF_INLINE int64_t state() const { return per_group * keys_row; }  // one number per query row and head
  HF_INLINE int64_t floats() const { return keys() + values() + scores() + 2 * state(); }
};

// What a task of attention_backward holds.
struct AttentionBackwardSizes {
  int64_t D;
  int64_t size;  // rows of the longest tile
  int64_t wide;
  int64_t deep;

  HF_INLINE explicit AttentionBackwardSizes(const AttentionBackwardArgs& a)
      : D(a.q.shape[2]),
        size(longest_sequence(a.offsets, kDerivativeTile)),
        wide(tile_stride(size)),
        deep(tile_stride(D)) {}

  HF_INLINE int64_t square() const { return size * wide; }   // (rows, rows)
  HF_INLINE int64_t transposed() const { return D * wide; }  // (D, rows)
  HF_INLINE int64_t rows() const { return size * deep; }     // (rows, D)
  HF_INLINE int64_t floats() const { return 2 * square() + 2 * transposed() + 3 * rows() + 2 * wide; }
};

// What a task of attention_jvp holds.
struct AttentionJvpSizes {
  int64_t D;
  int64_t size;       // rows of the longest tile
  int64_t per_group;  // query heads of one key/value head
  int64_t wide;
  int64_t deep;

  HF_INLINE explicit AttentionJvpSizes(const AttentionJvpArgs& a)
      : D(a.q.shape[2]),
        size(longest_sequence(a.offsets, kDerivativeTile)),
        per_group(a.q.shape[1] / a.k.shape[1]),
        wide(tile_stride(size)),
        deep(tile_stride(D)) {}

  HF_INLINE int64_t transposed() const { return D * wide; }           // (D, rows)
  HF_INLINE int64_t rows() const { return size * deep; }              // (rows, D)
  HF_INLINE int64_t scores() const { return kMostBlockRows * wide; }  // (rows of a block, rows)
  HF_INLINE int64_t state() const { return per_group * wide; }        // one number per query row and head
  HF_INLINE int64_t floats() const { return 2 * (transposed() + rows() + scores() + state()); }
};

// What a task of attention_decode holds.
struct AttentionDecodeSizes {
  static constexpr int64_t kStateFloats = 3;  // of the running softmax of a query head

  int64_t heads;  // query heads of one key/value head
  int64_t wide;   // between the rows of Σ p v

  HF_INLINE explicit AttentionDecodeSizes(const AttentionDecodeArgs& a)
      : heads(a.q.shape[1] / a.cache_k.shape[2]), wide(round_up(a.q.shape[2], 16)) {}

  HF_INLINE int64_t scores() const { return heads * kKeyTile; }
  HF_INLINE int64_t sums() const { return heads * wide; }
  HF_INLINE int64_t floats() const { return scores() + sums() + heads * kStateFloats; }
};

HF_INLINE int64_t scratch_bytes(const AttentionArgs& a, int64_t threads) {
  const int64_t tiles = count_tiles(a.offsets, kKeyTile);
  return bytes_of<SequenceTile>(tiles) +
         task_bytes(a.k.shape[1] * tiles, AttentionSizes(a).floats(), threads);
}
HF_INLINE int64_t scratch_bytes(const AttentionBackwardArgs& a, int64_t threads) {
  const int64_t sequences = a.offsets.shape[0] - 1;
  return task_bytes(a.k.shape[1] * sequences, AttentionBackwardSizes(a).floats(), threads);
}
HF_INLINE int64_t scratch_bytes(const AttentionJvpArgs& a, int64_t threads) {
  const int64_t tiles = count_tiles(a.offsets, kDerivativeTile);
  return bytes_of<SequenceTile>(tiles) +
         task_bytes(a.k.shape[1] * tiles, AttentionJvpSizes(a).floats(), threads);
}
HF_INLINE int64_t scratch_bytes(const AttentionDecodeArgs& a, int64_t threads) {
  return task_bytes(a.q.shape[0] * a.cache_k.shape[2], AttentionDecodeSizes(a).floats(), threads);
}

// The frequencies of op rope, and its table of cosines and sines: a line per distinct position where they are
// dense (packed sequences repeat positions), else one per row (decoding).
struct RopeTable {
  int64_t width;  // frequencies in whole vectors
  int64_t first;  // the smallest position
  int64_t lines;
  bool by_position;

  HF_INLINE RopeTable(const RopeArgs& a, int64_t lanes) : width(round_up(a.inv_freq.shape[0], lanes)) {
    const int64_t N = a.x.shape[0];
    const int32_t* positions = a.positions.as<int32_t>();
    first = N > 0 ? positions[0] : 0;
    int64_t last = first;
    for (int64_t n = 1; n < N; ++n) {
      first = least(first, positions[n]);
      last = greatest(last, positions[n]);
    }
    by_position = last - first < N;
    lines = by_position ? last - first + 1 : N;
  }

  HF_INLINE int64_t floats() const { return lines * 2 * width; }  // per line: cosines, then sines
};

HF_INLINE int64_t scratch_bytes(const RopeArgs& a, int64_t) {
  const RopeTable table(a, kMostLanes);
  return bytes_of<double>(table.width) + bytes_of<float>(table.floats());
}

}  // namespace hf::cpu
