// How much of the arena the calls of score.h and generate.h will take at their peak, before they run: the
// calls' own code on a counting run (runtime/counting_run.h), for their largest block.
#pragma once

#include "policy/generate.h"
#include "policy/score.h"

namespace hf {

// Samples by their sizes: `sequences` of at most `length` tokens, at most `scored` of which are scored.
struct SampleSizes {
  int64_t sequences = 1, length = 1, scored = 1;
};

// accumulate() when the parameters of `trainable` are those that train. Of options.reference, which may be
// null, the weights are not counted.
int64_t accumulate_bytes(const Model& model, const SampleSizes& samples, const AccumulateOptions& options,
                         const std::vector<bool>& trainable);
// score() and scored_features(), whose result is not counted.
int64_t score_bytes(const Model& model, const SampleSizes& samples);
// generate() for prompts of at most `length` tokens.
int64_t generate_bytes(const Model& model, int64_t prompts, int64_t length, const GenerateOptions& options);

}  // namespace hf
