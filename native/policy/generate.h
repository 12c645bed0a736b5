// Sampling with a key/value cache: every prompt is read once, its completions are decoded together, and
// finished ones drop out.
#pragma once

#include <vector>

#include "model/model.h"

namespace hf {

struct GenerateOptions {
  int64_t max_new_tokens = 1, num_return_sequences = 1;
  double temperature = 1, top_p = 1, min_p = 0;
  int64_t top_k = 0, seed = 0;
  // Completion c draws its token t from philox(seed, stream first_stream + c, counter t).
  int64_t first_stream = 0;
  std::vector<int32_t> stop;  // any of these ends a completion, and is its last token
  int64_t max_batch = 256;    // completions decoded at a time
};

struct Completions {
  std::vector<int32_t> ids;
  std::vector<double> logps;
  // Completion c, of prompt c / num_return_sequences, owns tokens offsets[c] … offsets[c+1] − 1.
  std::vector<int32_t> offsets;
  std::vector<uint8_t> stopped;  // by a token of `stop`
};

// ids and offsets (prompts + 1): the prompts' tokens, one prompt after the other. A completion ends at a stop
// token, at max_new_tokens, or when the context (spec.max_positions) is full.
Completions generate(const Model& model, const int32_t* ids, const int32_t* offsets, int64_t prompts,
                     const GenerateOptions& options, Run& run);

}  // namespace hf
