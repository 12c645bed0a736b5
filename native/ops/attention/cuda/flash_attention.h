// Attention in bf16 for heads of at most kFlashDims numbers (flash_attention.cu); attention.cu has the other
// modes and larger heads.
#pragma once

#include "ops/attention/cuda/attention_tile.h"

namespace hf::cuda {

constexpr int64_t kFlashDims = 128;

struct PackSource {
  HeadsOf from;
  uint32_t* to;
  int64_t heads;
  float factor;
};
struct PackSources {
  PackSource source[4];
};

// Packs tensors (rows, heads, dims) of one call, all in one kernel: `factor` times the numbers as (heads,
// rows, padded dims) bfloat16 in scratch memory. What lies so already, up to its strides, is used as it is.
// A head's rows as bfloat16, two a word.
struct PackedHeads {
  const uint32_t* data;
  int64_t head_step;
  int step;  // words from row to row

  HF_DEVICE const uint32_t* rows(int64_t head, int64_t row) const {
    return data + head * head_step + row * step;
  }
};

class Packing {
 public:
  Packing(int64_t dims, int64_t rows, Run& run) : dims_(dims), rows_(rows), run_(run) {}
  PackedHeads add(const HeadsOf& from, int64_t heads, float factor = 1);
  void start(const char* name);

 private:
  const int64_t dims_, rows_;
  Run& run_;
  PackSources sources_{};
  int64_t most_heads_ = 0;
  int count_ = 0;
};

// `p` as attention.cu fills it; `rows` of q, `tiles` of p.tiles.
void flash_forward(const Problem& p, int64_t rows, int64_t tiles, Run& run);
void flash_backward(const Problem& p, int64_t rows, int64_t tiles, Run& run);

}  // namespace hf::cuda
