#include "policy/decoder.h"

#include <algorithm>
#include <numeric>

#include "ops/op_table.h"

namespace hf {
namespace {

// The weights are packed once per group of completions: reading them in order is 1.7 to 2.5 times as fast as
// streaming them as they lie, and batches have nothing left to pack. That pays after a few steps; the copy
// stays within a bound. Devices do not pack.
constexpr int64_t kPackedSteps = 8, kPackedBytes = int64_t{512} << 20;

// Where rows of keys and values lie in the caches: row rows[i] of a batch is token positions[i] of completion
// slots[i].
struct CachePlaces {
  View rows, slots, positions;  // i32
};

void append_to_cache(const HeadViews& heads, const CachePlaces& places, const View& keys, const View& values,
                     Run& run) {
  dispatch(
      KvAppendArgs{
          .k = heads.k,
          .v = heads.v,
          .rows = places.rows,
          .slots = places.slots,
          .positions = places.positions,
          .cache_k = keys,
          .cache_v = values,
      },
      run);
}

// One new row of each completion, which sees the rows that are in its completion's cache, and itself.
class CachedAttention : public AttentionStep {
 public:
  // lengths (B) i32: tokens of each row's completion, itself included.
  CachedAttention(const ModelSpec& spec, const CachePlaces& places, const View& lengths, const View& keys,
                  const View& values)
      : spec_(spec), places_(places), lengths_(lengths), keys_(keys), values_(values) {}

  View attend(const HeadViews& heads, const View& y, Run& run) override {
    append_to_cache(heads, places_, keys_, values_, run);
    dispatch(
        AttentionDecodeArgs{
            .q = heads.q,
            .cache_k = keys_,
            .cache_v = values_,
            .slots = places_.slots,
            .lengths = lengths_,
            .y = y,
            .scale = spec_.attention_scale,
        },
        run);
    return View{};
  }

 private:
  const ModelSpec& spec_;
  const CachePlaces& places_;
  const View &lengths_, &keys_, &values_;
};

View view_of(std::vector<int32_t>& numbers) {
  return make_view(numbers.data(), DType::kI32, int64_t(numbers.size()));
}

double number_at(const View& view, int64_t index) {
  return view.dtype == DType::kF64 ? view.as<double>()[index] : view.as<float>()[index];
}

}  // namespace

Decoder::Decoder(const Model& model, const Prompts& prompts, const GenerateOptions& options, int64_t first,
                 int64_t count, Run& run)
    : model_(model),
      spec_(model.spec()),
      prompts_(prompts),
      options_(options),
      run_(run),
      first_(first),
      count_(count),
      tokens_(count),
      logps_(count),
      stopped_(count, 0),
      lengths_(count) {
  for (int l = 0; l < spec_.layers; ++l)
    layers_.push_back(model.layer(l));
  classifier_.weight = model.classifier_operand();
  make_caches();
  prefill();
  if (packing_pays()) pack_weights();
}

void Decoder::make_caches() {
  int64_t longest = 0;
  for (int64_t p = first_prompt(); p <= last_prompt(); ++p)
    longest = std::max(longest, prompts_.length(p));
  const int64_t positions = std::min(longest + options_.max_new_tokens, spec_.max_positions);
  for (int l = 0; l < spec_.layers; ++l) {
    keys_.push_back(arena_tensor(run_, run_.real(), count_, positions, spec_.kv_heads, spec_.head_dim));
    values_.push_back(arena_tensor(run_, run_.real(), count_, positions, spec_.kv_heads, spec_.head_dim));
  }
}

bool Decoder::packing_pays() const {
  const int64_t bytes = model_.size() * dtype_bytes(run_.real());
  return !model_.context()->device() && options_.max_new_tokens >= kPackedSteps && bytes <= kPackedBytes;
}

void Decoder::pack_weights() {
  const auto pack = [&](Linear& linear) {
    linear.packed = arena_tensor(run_, DType::kU8, gemm_packed_bytes(linear.in(), linear.out()));
    dispatch(GemmPackArgs{.b = linear.weight.transposed(), .packed = linear.packed}, run_);
  };
  for (LayerWeights& layer : layers_)
    for_each_linear(layer, pack);
  pack(classifier_);
}

// ---- prompts ----

void Decoder::prefill() {
  const int32_t* offsets = prompts_.offsets;
  for (int64_t begin = first_prompt(), end; begin <= last_prompt(); begin = end) {
    end = begin + 1;
    while (end <= last_prompt() && offsets[end + 1] - offsets[begin] <= kPrefillTokens)
      ++end;
    checkpoint(run_);
    Scratch scratch(run_);
    prefill_block(begin, end);
  }
}

// Prompts begin … end − 1 are read once each; a prompt's keys and values go to all of its completions, and
// its last row gives the distribution of their first tokens.
void Decoder::prefill_block(int64_t begin, int64_t end) {
  const int32_t* offsets = prompts_.offsets;
  const Batch batch = make_batch(prompts_.ids, offsets + begin, end - begin, run_);
  const Activations activations = forward(model_, batch, Keep::kAll, run_);

  std::vector<int32_t> rows, slots, positions, completions, last_rows;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t per_prompt = options_.num_return_sequences;
    const int64_t first = std::max(p * per_prompt, first_),
                  last = std::min((p + 1) * per_prompt, first_ + count_);
    const int32_t row = offsets[p] - offsets[begin], length = int32_t(prompts_.length(p));
    for (int64_t c = first; c < last; ++c) {
      const int32_t slot = int32_t(c - first_);
      for (int32_t t = 0; t < length; ++t) {
        rows.push_back(row + t);
        slots.push_back(slot);
        positions.push_back(t);
      }
      completions.push_back(slot);
      last_rows.push_back(row + length - 1);
      lengths_[slot] = length;
    }
  }
  const CachePlaces places{.rows = view_of(rows), .slots = view_of(slots), .positions = view_of(positions)};
  for (int l = 0; l < spec_.layers; ++l)
    append_to_cache(head_views(spec_, activations.layers[l].qkv), places, keys_[l], values_[l], run_);
  if (options_.max_new_tokens == 0) return;

  const View hidden = gather_rows(activations.features(), view_of(last_rows), run_);
  const View z = arena_tensor(run_, run_.real(), hidden.shape[0], spec_.vocab_size);
  logits(model_, hidden, z, run_);
  sample(z, completions, 0);
}

// ---- steps ----

void Decoder::decode() {
  std::vector<int32_t> active(count_);
  std::iota(active.begin(), active.end(), 0);
  drop_finished(active);
  for (int64_t counter = 1; !active.empty(); ++counter) {
    checkpoint(run_);
    step(active, counter);
    drop_finished(active);
    report_progress(run_, counter, options_.max_new_tokens);
  }
}

void Decoder::step(const std::vector<int32_t>& active, int64_t counter) {
  Scratch scratch(run_);
  sample(next_logits(active), active, counter);
}

// Reads the latest token of every active completion: the logits (B, V) of the next.
View Decoder::next_logits(const std::vector<int32_t>& active) {
  const int64_t B = int64_t(active.size()), C = spec_.hidden_size;
  const View z = arena_tensor(run_, run_.real(), B, spec_.vocab_size);
  const View ids = indices(B), lengths = indices(B);
  const CachePlaces places{.rows = indices(B), .slots = indices(B), .positions = indices(B)};
  for (int64_t b = 0; b < B; ++b) {
    const int32_t c = active[b];
    ids.as<int32_t>()[b] = tokens_[c].back();
    places.rows.as<int32_t>()[b] = int32_t(b);
    places.slots.as<int32_t>()[b] = c;
    places.positions.as<int32_t>()[b] = lengths_[c];
    lengths.as<int32_t>()[b] = ++lengths_[c];
  }
  View x = arena_tensor(run_, run_.real(), B, C), next = arena_tensor(run_, run_.real(), B, C);
  embed(model_, ids, places.positions, x, run_);
  for (int l = 0; l < spec_.layers; ++l) {
    Scratch scratch(run_);
    CachedAttention attention(spec_, places, lengths, keys_[l], values_[l]);
    const LayerActivations layer =
        forward_layer(model_, layers_[l], x, places.positions, attention, Keep::kFeatures, run_);
    layer_output(model_, layers_[l], layer, next, run_);
    std::swap(x, next);
  }
  NormActivations features;
  apply_norm(model_, model_.final_norm(), x, run_.stored(), features, run_);
  apply_linears(spec_, one(classifier_), features.y, z, View{}, run_);
  return z;
}

// Draws token number `counter` of each completion in `active` from its row of the logits.
void Decoder::sample(const View& logits, const std::vector<int32_t>& active, int64_t counter) {
  const int64_t B = int64_t(active.size());
  const View streams = indices(B), counters = indices(B), drawn = indices(B);
  const View logps = host_tensor(run_, run_.real(), B);
  for (int64_t b = 0; b < B; ++b) {
    streams.as<int32_t>()[b] = active[b];
    counters.as<int32_t>()[b] = int32_t(counter);
  }
  dispatch(
      SampleTokenArgs{
          .logits = logits,
          .streams = streams,
          .counters = counters,
          .tokens = drawn,
          .logps = logps,
          .temperature = options_.temperature,
          .top_p = options_.top_p,
          .min_p = options_.min_p,
          .top_k = options_.top_k,
          .seed = options_.seed,
          .first_stream = options_.first_stream + first_,
      },
      run_);
  const std::vector<int32_t>& stop = options_.stop;
  for (int64_t b = 0; b < B; ++b) {
    const int32_t c = active[b], token = drawn.as<int32_t>()[b];
    tokens_[c].push_back(token);
    logps_[c].push_back(number_at(logps, b));
    stopped_[c] = std::find(stop.begin(), stop.end(), token) != stop.end();
  }
}

// A completion goes on while its latest token is not a stop token and is wanted to be followed, and while the
// context has a place for the next: whoever scores the completion reads all of it.
void Decoder::drop_finished(std::vector<int32_t>& active) const {
  std::erase_if(active, [&](int32_t c) {
    const bool long_enough = int64_t(tokens_[c].size()) >= options_.max_new_tokens;
    const bool context_is_full = lengths_[c] + 1 >= spec_.max_positions;
    return stopped_[c] || long_enough || context_is_full;
  });
}

void Decoder::append_to(Completions& out) const {
  for (int64_t c = 0; c < count_; ++c) {
    out.ids.insert(out.ids.end(), tokens_[c].begin(), tokens_[c].end());
    out.logps.insert(out.logps.end(), logps_[c].begin(), logps_[c].end());
    out.offsets.push_back(int32_t(out.ids.size()));
    out.stopped.push_back(stopped_[c]);
  }
}

}  // namespace hf
