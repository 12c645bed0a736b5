// Scratch memory of the linear kernels (backends/cpu/scratch.h): packed panels.
#pragma once

#include "backends/cpu/panels.h"
#include "ops/linear/gemm.h"
#include "ops/linear/per_sample_linear.h"

namespace hf::cpu {

constexpr int64_t kPartFloats = 1152 * kMaxDepth;  // of A that are packed at a time: 2.25 MiB

// The parts that op gemm cuts A (M,K) into. A part is `part_panels` panels of rows and `part_depth` of k; its
// panels are packed once and shared by all tasks of the part. With pairs of bfloat16, K counts the pairs.
struct GemmParts {
  int64_t block;        // of depth
  int64_t height;       // rows of a panel
  int64_t panels;       // of all of A
  int64_t part_panels;  // at most
  int64_t part_depth;   // at most

  HF_INLINE GemmParts(int64_t M, int64_t K, int64_t tile_rows)
      : block(depth_block(K)), height(panel_rows(M, tile_rows)), panels(divide_up(M, height)) {
    const int64_t panels_that_fit = kPartFloats / (block * height);
    part_panels = divide_up(panels, divide_up(panels, panels_that_fit));
    // So much of A's depth is packed at once that threads wait for each other in few places. With a single
    // panel it is all of it: B is read in the order it lies in.
    const int64_t blocks_that_fit = kPartFloats / (part_panels * height * block);
    part_depth = panels == 1 ? K : blocks_that_fit > 1 ? blocks_that_fit * block : block;
  }

  // Floats of the largest part's packed panels, and the number of (panel, block) pairs that it has.
  HF_INLINE int64_t floats(int64_t K) const { return part_panels * height * least(part_depth, K); }
  HF_INLINE int64_t states(int64_t K) const {
    return part_panels * greatest(divide_up(least(part_depth, K), block), 1);
  }
  HF_INLINE int64_t bytes(int64_t K) const {
    return bytes_of<float>(floats(K)) + bytes_of<uint8_t>(states(K));
  }
};

constexpr int64_t kTileRowsInUse[] = {6, 12, 14};  // of the instruction sets (backends/cpu/gemm.h)

// Bytes that a product of an (M,K) matrix takes at most, on any instruction set.
HF_INLINE int64_t gemm_scratch_bytes(int64_t M, int64_t K) {
  if (M == 0) return 0;
  int64_t most = 0;
  for (const int64_t tile_rows : kTileRowsInUse)
    most = greatest(most, GemmParts(M, K, tile_rows).bytes(K));
  return most;
}
HF_INLINE int64_t scratch_bytes(const GemmArgs& a, int64_t) {
  return gemm_scratch_bytes(a.a.shape[0], a.a.shape[1]);
}

// Floats of packed operands for gradients of up to outputs × inputs, either way round, made from kMaxDepth
// rows at a time. A smaller block may have wider panels, hence twice a tile of each.
HF_INLINE int64_t pack_floats(int64_t outputs, int64_t inputs) {
  return (outputs + inputs + 2 * kMostTileRows + 2 * kMostTileColumns) * kMaxDepth;
}

// What a thread of per_sample_linear holds: packed operands, a block of gradients and their sums for the
// bias.
struct PerSampleLinearSizes {
  static constexpr int64_t kBlockOutputs = 252;  // whole register tiles of 6 and of 14 rows
  static constexpr int64_t kBlockInputs = 256;

  int64_t outputs;
  int64_t threads;

  HF_INLINE PerSampleLinearSizes(const PerSampleLinearArgs& a, int64_t most_threads)
      : outputs(a.d.shape[1]), threads(least(most_threads, a.offsets.shape[0] - 1)) {}

  HF_INLINE int64_t packed() const { return pack_floats(kBlockOutputs, kBlockInputs); }
  HF_INLINE int64_t block() const { return kBlockOutputs * kBlockInputs; }
  HF_INLINE int64_t floats() const { return packed() + block() + outputs; }
};

HF_INLINE int64_t scratch_bytes(const PerSampleLinearArgs& a, int64_t threads) {
  const PerSampleLinearSizes sizes(a, threads);
  return bytes_of<float>(sizes.threads * sizes.floats());
}

}  // namespace hf::cpu
