#include "policy/footprint.h"

#include <algorithm>

#include "model/footprint.h"
#include "ops/op_table.h"
#include "policy/decoder.h"

namespace hf {
namespace {
bool packs_weights(const Model& model, const GenerateOptions& options) {
  return !model.context()->device() && options.max_new_tokens >= 8 &&
         model.size() * dtype_bytes(model.context()->real()) <= int64_t{512} << 20;
}
int64_t model_packed_bytes(const Model& model) {
  int64_t sum = gemm_packed_bytes(model.spec().hidden_size, model.spec().vocab_size);
  for (int l = 0; l < model.spec().layers; ++l)
    for_each_linear(model.layer(l),
                    [&](const Linear& linear) { sum += gemm_packed_bytes(linear.in(), linear.out()); });
  return sum;
}

// workspace_bytes() reads shapes; a view that is there must have an address.
View shaped(DType real, int64_t rows, int64_t columns) {
  static char address;
  return make_view(&address, real, rows, columns);
}

int64_t head_bytes(const Model& model, int64_t rows, bool d_hidden, bool d_weight, const Model* reference) {
  const DType real = model.context()->real();
  const int64_t C = model.spec().hidden_size, V = model.spec().vocab_size;
  LinearPolicyGradientArgs args;
  args.hidden = shaped(real, rows, C), args.weight = shaped(real, V, C);
  if (d_hidden) args.d_hidden = args.hidden;
  if (d_weight) args.d_weight = args.weight;
  if (reference)
    args.ref_hidden = shaped(real, rows, reference->spec().hidden_size),
    args.ref_weight = shaped(real, V, reference->spec().hidden_size);
  int64_t packed = packed_bytes(rows, C);
  if (d_hidden) packed = std::max(packed, packed_bytes(rows, std::min<int64_t>(V, 2048)));
  if (d_weight) packed = std::max(packed, packed_bytes(std::min<int64_t>(V, 2048), rows));
  return workspace_bytes(args) + packed;
}

// Rows of the largest block of whole sequences, and its scored rows.
struct BlockSizes {
  int64_t rows, scored;

  BlockSizes(const SampleSizes& s, int64_t max_tokens) {
    const int64_t sequences = std::clamp<int64_t>(max_tokens / std::max<int64_t>(s.length, 1), 1,
                                                  std::max<int64_t>(s.sequences, 1));
    rows = sequences * s.length, scored = sequences * s.scored;
  }
};

// The features of a block's scored rows: what stays of them, and the peak on the way.
struct FeatureBytes {
  int64_t kept, peak;
};
FeatureBytes feature_bytes(const Model& model, const BlockSizes& block) {
  const ModelSpec& s = model.spec();
  const int64_t real = dtype_bytes(model.context()->real());
  const int64_t kept =
      real * (block.rows * activation_numbers(s, Keep::kFeatures) + block.scored * s.hidden_size);
  return {kept, std::max(kept, real * block.rows * (2 * s.hidden_size + layer_numbers(s)) +
                                   product_bytes(s, block.rows, false))};
}

}  // namespace

int64_t score_bytes(const Model& model, const SampleSizes& samples) {
  const BlockSizes block(samples, kDefaultMaxTokens);
  const FeatureBytes features = feature_bytes(model, block);
  return std::max(features.peak, features.kept + head_bytes(model, block.scored, false, false, nullptr));
}

int64_t accumulate_bytes(const Model& model, const SampleSizes& samples, const AccumulateOptions& options,
                         Trains trains) {
  const ModelSpec& s = model.spec();
  const BlockSizes block(samples, options.max_tokens);
  const int64_t real = dtype_bytes(model.context()->real()), features = block.scored * s.hidden_size;
  FeatureBytes of_reference{0, 0};
  if (options.reference) of_reference = feature_bytes(*options.reference, block);
  if (!trains.body) {
    const FeatureBytes own = feature_bytes(model, block);
    const int64_t head =
        of_reference.kept + head_bytes(model, block.scored, false, trains.classifier, options.reference);
    return std::max({own.peak, own.kept + of_reference.peak, own.kept + head});
  }
  const bool layers = trains.lowest_layer < s.layers;  // or the final norm alone
  const int64_t gradients = block.rows * (layers ? gradient_numbers(s, false) : 3 * s.hidden_size);
  const int64_t again = layers && options.checkpointing ? block.rows * layer_numbers(s) : 0;
  const int64_t forward =
      real * (block.rows * activation_numbers(s, options.checkpointing ? Keep::kInputs : Keep::kAll,
                                              trains.lowest_layer) +
              features);
  const int64_t head = of_reference.kept + real * features +
                       head_bytes(model, block.scored, true, trains.classifier, options.reference);
  const int64_t backward =
      of_reference.kept + real * (features + gradients + again) + product_bytes(s, block.rows, true);
  const int64_t passing = real * block.rows * (2 * s.hidden_size + layer_numbers(s)) +
                          product_bytes(s, block.rows, false);  // a layer that is not kept
  return std::max(passing, forward + std::max({of_reference.peak, head, backward}));
}

int64_t generate_bytes(const Model& model, int64_t prompts, int64_t length, const GenerateOptions& o) {
  const ModelSpec& s = model.spec();
  const int64_t real = dtype_bytes(model.context()->real()), C = s.hidden_size;
  const int64_t completions = std::min(prompts * o.num_return_sequences, o.max_batch),
                positions = std::min(length + o.max_new_tokens, s.max_positions);
  const int64_t cache = real * 2 * s.layers * completions * positions * s.kv_heads * s.head_dim;
  const BlockSizes block({(completions + o.num_return_sequences - 1) / o.num_return_sequences, length, 0},
                         kPrefillTokens);
  // The first logits are those of the block's completions.
  const int64_t first =
      std::min(completions, block.rows / std::max<int64_t>(length, 1) * o.num_return_sequences);
  const int64_t prefill =
      real * (block.rows * activation_numbers(s, Keep::kAll) + first * (C + s.vocab_size)) +
      product_bytes(s, block.rows, false);
  const int64_t step =
      real * completions * (s.vocab_size + 2 * C + layer_numbers(s)) + product_bytes(s, completions, false);
  return cache + std::max(prefill, (packs_weights(model, o) ? model_packed_bytes(model) : 0) + step);
}

}  // namespace hf
