// The classifier's logits in bfloat16 on Hopper, with each row's statistics over tiles of 256 ids from the
// float32 accumulators.
#pragma once

#include "backends/cuda/pack_rows.h"
#include "ops/loss/cuda/softmax_stats.h"

namespace hf::cuda {

constexpr int kWideVocabulary = 256;  // ids of a tile

struct WideLogits {
  int rows, vocabulary;
  const float* bias;  // (V) or null
  int64_t bias_step;
  float inverse_temperature;
  const int32_t* targets;  // (rows)
  int64_t target_step;
  // z − (the row's maximum over the tile) as float16, which is finest where probabilities are largest; null:
  // not kept. z_step: a multiple of 8.
  uint16_t* z;
  int64_t z_step;
  float* target_z;  // (rows)
  Stats* stats;     // (rows, tiles)
  int tiles;
};

// hidden (rows, depth), weight (V, depth)
#ifdef HF_CUDA_EMULATED
inline void wide_logits(const PackedRows&, const PackedRows&, int64_t, const WideLogits&, Stream&) {}
#else
void wide_logits(const PackedRows& hidden, const PackedRows& weight, int64_t depth, const WideLogits& problem,
                 Stream& stream);
#endif

}  // namespace hf::cuda
