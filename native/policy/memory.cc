#include "policy/memory.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "policy/decoder.h"
#include "runtime/counting_run.h"

namespace hf {
namespace {

// A block's indices are laid out for up to so many tokens. What a larger one holds is in proportion.
constexpr int64_t kMostTokens = int64_t{1} << 18;

// Sequences of equal length, one after the other: sequence s begins at offsets[s].
std::vector<int32_t> equal_offsets(int64_t sequences, int64_t length) {
  std::vector<int32_t> offsets;
  for (int64_t s = 0; s <= sequences; ++s)
    offsets.push_back(int32_t(s * length));
  return offsets;
}

// The largest block of whole sequences that score() and accumulate() make, as samples of its own.
class LargestBlock {
 public:
  LargestBlock(const SampleSizes& sizes, int64_t max_tokens) {
    const int64_t length = std::max<int64_t>(sizes.length, 1);
    const int64_t sequences =
        std::clamp<int64_t>(max_tokens / length, 1, std::max<int64_t>(sizes.sequences, 1));
    const int64_t laid_length = std::min(length, kMostTokens);
    const int64_t laid_sequences = std::min(sequences, std::max<int64_t>(kMostTokens / laid_length, 1));
    const int64_t scored = std::clamp<int64_t>(sizes.scored * laid_length / length, 1, laid_length);
    proportion_ = double(sequences) / double(laid_sequences) * double(length) / double(laid_length);

    offsets_ = equal_offsets(laid_sequences, laid_length);
    row_offsets_ = equal_offsets(laid_sequences, scored);
    ids_.assign(laid_sequences * laid_length, 0);
    targets_.assign(laid_sequences * scored, 0);
    for (int64_t s = 0; s < laid_sequences; ++s)
      for (int64_t i = laid_length - scored; i < laid_length; ++i)
        rows_.push_back(int32_t(s * laid_length + i));
  }

  Samples samples() const {
    return {
        .ids = ids_.data(),
        .offsets = offsets_.data(),
        .sequences = int64_t(offsets_.size()) - 1,
        .rows = rows_.data(),
        .targets = targets_.data(),
        .row_offsets = row_offsets_.data(),
    };
  }
  int64_t bytes(const CountingRun& counting) const {
    return int64_t(std::ceil(double(counting.peak_bytes()) * proportion_));
  }

 private:
  double proportion_;  // the block's tokens over those that are laid out
  std::vector<int32_t> ids_, offsets_, rows_, targets_, row_offsets_;
};

}  // namespace

int64_t score_bytes(const Model& model, const SampleSizes& samples) {
  const LargestBlock block(samples, kDefaultMaxTokens);
  CountingRun counting(*model.context());
  score(model, block.samples(), PolicyBatch{}, View{}, counting.run());
  return block.bytes(counting);
}

int64_t accumulate_bytes(const Model& model, const SampleSizes& samples, const AccumulateOptions& options,
                         const std::vector<bool>& trainable) {
  const LargestBlock block(samples, options.max_tokens);
  CountingRun counting(*model.context());
  // The gradients are the model's, no part of the arena: any address does.
  const View gradients = model.weights();
  SumSink sink(model, gradients, trainable, counting.run());
  accumulate(model, block.samples(), PolicyBatch{}, View{}, options, sink, counting.run());
  return block.bytes(counting);
}

int64_t generate_bytes(const Model& model, int64_t prompts, int64_t length, const GenerateOptions& options) {
  const int64_t per_prompt = options.num_return_sequences;
  const int64_t completions = std::min(prompts * per_prompt, options.max_batch);
  const int64_t prompts_at_once = (completions + per_prompt - 1) / per_prompt;
  const std::vector<int32_t> offsets =
      equal_offsets(prompts_at_once, std::clamp<int64_t>(length, 1, model.spec().max_positions));
  const std::vector<int32_t> ids(size_t(offsets.back()), 0);
  const Prompts all{.ids = ids.data(), .offsets = offsets.data()};
  CountingRun counting(*model.context());
  Decoder decoder(model, all, options, 0, completions, counting.run());
  if (options.max_new_tokens > 1) {
    std::vector<int32_t> active(completions);
    std::iota(active.begin(), active.end(), 0);
    decoder.step(active, 1);
  }
  return counting.peak_bytes();
}

}  // namespace hf
