// A group of completions that are decoded together: their key/value caches, and how far each of them is.
#pragma once

#include <vector>

#include "model/forward.h"
#include "policy/generate.h"

namespace hf {

// Prompts are read in blocks of at most so many tokens (but at least one prompt).
constexpr int64_t kPrefillTokens = 4096;

// Prompts, one after the other: prompt p is ids[offsets[p]] … ids[offsets[p+1] − 1].
struct Prompts {
  const int32_t* ids;
  const int32_t* offsets;

  int64_t length(int64_t prompt) const { return offsets[prompt + 1] - offsets[prompt]; }
};

class Decoder {
 public:
  // Completions first … first + count − 1. Makes their caches and reads their prompts, from whose last rows
  // each completion's first token is drawn; then packs the weights if many steps follow. All in the run's
  // arena.
  Decoder(const Model& model, const Prompts& prompts, const GenerateOptions& options, int64_t first,
          int64_t count, Run& run);

  // Decodes until every completion has ended.
  void decode();
  // Token number `counter` of each completion in `active`, which must be among those that go on.
  void step(const std::vector<int32_t>& active, int64_t counter);
  void append_to(Completions& out) const;

 private:
  int64_t first_prompt() const { return first_ / options_.num_return_sequences; }
  int64_t last_prompt() const { return (first_ + count_ - 1) / options_.num_return_sequences; }
  View indices(int64_t count) { return arena_tensor(run_, DType::kI32, count); }

  void make_caches();
  void prefill();
  void prefill_block(int64_t begin, int64_t end);
  bool packing_pays() const;
  void pack_weights();
  View next_logits(const std::vector<int32_t>& active);
  void sample(const View& logits, const std::vector<int32_t>& active, int64_t counter);
  void drop_finished(std::vector<int32_t>& active) const;

  const Model& model_;
  const ModelSpec& spec_;
  const Prompts& prompts_;
  const GenerateOptions& options_;
  Run& run_;
  const int64_t first_, count_;

  std::vector<LayerWeights> layers_;  // the model's, with packed matrices after pack_weights()
  Linear classifier_;
  std::vector<View> keys_, values_;  // per layer (count, positions, G, D)

  // Of each completion.
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<std::vector<double>> logps_;
  std::vector<uint8_t> stopped_;
  std::vector<int32_t> lengths_;  // tokens whose keys and values are in the cache
};

}  // namespace hf
