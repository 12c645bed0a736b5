// Attention in bf16 for heads of at most kFlashDims numbers. attention.cu calls it, and has the other maths
// and larger heads itself.
#pragma once

#include "ops/attention/cuda/attention_tile.h"

namespace hf::cuda {

constexpr int64_t kFlashDims = 128;

// Heads as the kernels read them: bfloat16, two a word, rows of padded dims.
struct PackedHeads {
  const uint32_t* data;
  int64_t head_step;
  int step;  // words from row to row

  HF_DEVICE const uint32_t* rows(int64_t head, int64_t row) const {
    return data + head * head_step + row * step;
  }
};

// One tensor to be packed.
struct PackSource {
  HeadMatrices from;
  uint32_t* to;
  int64_t heads;
  float factor;
};
struct PackSources {
  PackSource source[4];
};

// Packs the tensors (rows, heads, dims) of one call, all in one kernel: `factor` times the numbers, as
// (heads, rows, padded dims) bfloat16 in scratch memory. What lies so already, up to its strides, is used as
// it is. add() each tensor, then start() once.
class Packing {
 public:
  Packing(int64_t dims, int64_t rows, Run& run) : dims_(dims), rows_(rows), run_(run) {}
  PackedHeads add(const HeadMatrices& from, int64_t heads, float factor = 1);
  void start(const char* name);

 private:
  const int64_t dims_, rows_;
  Run& run_;
  PackSources sources_{};
  int64_t most_heads_ = 0;
  int count_ = 0;
};

// `p` is as attention.cu fills it, with `rows` rows of q and `tiles` entries of p.tiles.
void flash_forward(const Problem& p, int64_t rows, int64_t tiles, Run& run);
void flash_backward(const Problem& p, int64_t rows, int64_t tiles, Run& run);

}  // namespace hf::cuda
