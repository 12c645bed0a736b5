// Sampling with a key/value cache: prompts are prefilled once each, completions decoded together, finished
// ones drop out.
#pragma once

#include <vector>

#include "model/model.h"

namespace hf {

struct GenerateOptions {
  int64_t max_new_tokens = 1, num_return_sequences = 1;
  double temperature = 1, top_p = 1, min_p = 0;
  int64_t top_k = 0, seed = 0;
  int64_t first_stream =
      0;  // completion c draws token t from philox(seed, stream first_stream + c, counter t)
  std::vector<int32_t> stop;  // any of these ends a completion, and is its last token
  int64_t max_batch = 256;    // completions decoded at a time
};

struct Completions {
  std::vector<int32_t> ids;
  std::vector<double> logps;
  std::vector<int32_t>
      offsets;  // completion c = prompt c / num_return_sequences owns offsets[c] … offsets[c+1] − 1
  std::vector<uint8_t> stopped;
};

// Prompts are prefilled in blocks of at most so many tokens (but at least one prompt).
constexpr int64_t kPrefillTokens = 4096;
// Whether decoding makes packed copies of the linear weights, and their size.
bool packs_weights(const Model& model, const GenerateOptions& options);
int64_t packed_bytes(const Model& model);

// A completion ends at a stop token, at max_new_tokens, or when the context (spec.max_positions) is full.
Completions generate(const Model& model, const int32_t* ids, const int32_t* offsets, int64_t prompts,
                     const GenerateOptions& options, Run& run);

}  // namespace hf
