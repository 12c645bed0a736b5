// How much of the arena the calls of score.h and generate.h will take, before they run.
#pragma once

#include "policy/generate.h"
#include "policy/score.h"

namespace hf {

// Samples by their sizes: `sequences` of at most `length` tokens, at most `scored` of which are scored.
struct SampleSizes {
  int64_t sequences = 1, length = 1, scored = 1;
};

// With gradients of the classifier, of the body, or of both. `options.reference` may be null; its weights are
// not counted.
struct Trains {
  bool classifier = true, body = true;
  int lowest_layer = 0;  // of the body's trainable parameters
};
int64_t accumulate_bytes(const Model& model, const SampleSizes& samples, const AccumulateOptions& options,
                         Trains trains);
// score() and scored_features(), whose result is not counted.
int64_t score_bytes(const Model& model, const SampleSizes& samples);
// Prompts of at most `length` tokens.
int64_t generate_bytes(const Model& model, int64_t prompts, int64_t length, const GenerateOptions& options);

}  // namespace hf
