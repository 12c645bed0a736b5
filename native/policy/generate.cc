#include "policy/generate.h"

#include <algorithm>
#include <numeric>

#include "model/forward.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// Weights are packed once per group of completions: reading them in order is 1.7 to 2.5 times as fast as
// streaming them as they lie, and batches have nothing left to pack. That pays after a few steps; the copy
// stays within a bound. Devices do not pack.
constexpr int64_t kPackedSteps = 8, kPackedBytes = int64_t{512} << 20;

struct LayerLinears {
  std::vector<Linear> qkv, mlp_in;
  Linear attention_out, mlp_down;
};

// One group of completions: caches, and the state of each completion in it.
class Decoder {
 public:
  // Completions first … first + count − 1, whose prompts are [ids + offsets[c / per_prompt], …).
  Decoder(const Model& model, const int32_t* ids, const int32_t* offsets, const GenerateOptions& options,
          int64_t first, int64_t count, Run& run)
      : model_(model),
        spec_(model.spec()),
        options_(options),
        run_(run),
        first_(first),
        count_(count),
        tokens_(count),
        logps_(count),
        stopped_(count, 0),
        lengths_(count) {
    const int64_t first_prompt = first / options.num_return_sequences,
                  last_prompt = (first + count - 1) / options.num_return_sequences;
    int64_t longest = 0;
    for (int64_t p = first_prompt; p <= last_prompt; ++p)
      longest = std::max<int64_t>(longest, offsets[p + 1] - offsets[p]);
    const int64_t positions = std::min(longest + options.max_new_tokens, spec_.max_positions);
    for (int l = 0; l < spec_.layers; ++l) {
      keys_.push_back(arena_tensor(run, run.real(), count, positions, spec_.kv_heads, spec_.head_dim));
      values_.push_back(arena_tensor(run, run.real(), count, positions, spec_.kv_heads, spec_.head_dim));
    }
    for (int l = 0; l < spec_.layers; ++l) {
      const LayerWeights& w = model.layer(l);
      linears_.push_back({w.qkv, w.mlp_in, w.attention_out, w.mlp_down});
    }
    classifier_.weight = model.classifier_operand();
    prefill(ids, offsets, first_prompt, last_prompt);
    if (packs_weights(model, options)) pack();
  }

  void decode() {
    std::vector<int32_t> active(count_);
    std::iota(active.begin(), active.end(), 0);
    drop_finished(active);
    for (int64_t step = 1; !active.empty(); ++step) {
      checkpoint(run_);
      Scratch scratch(run_);
      const View z = step_logits(active);
      sample(z, active, step);
      drop_finished(active);
      report_progress(run_, step, options_.max_new_tokens);
    }
  }

  void append_to(Completions& out) const {
    for (int64_t c = 0; c < count_; ++c) {
      out.ids.insert(out.ids.end(), tokens_[c].begin(), tokens_[c].end());
      out.logps.insert(out.logps.end(), logps_[c].begin(), logps_[c].end());
      out.offsets.push_back(int32_t(out.ids.size()));
      out.stopped.push_back(stopped_[c]);
    }
  }

 private:
  void pack() {
    const auto pack = [&](Linear& linear) {
      GemmPackArgs args;
      args.b = linear.weight.transposed();
      args.packed = linear.packed =
          arena_tensor(run_, DType::kU8, gemm_packed_bytes(linear.in(), linear.out()));
      dispatch(args, run_);
    };
    for (LayerLinears& l : linears_) {
      for (Linear& linear : l.qkv)
        pack(linear);
      for (Linear& linear : l.mlp_in)
        pack(linear);
      pack(l.attention_out), pack(l.mlp_down);
    }
    pack(classifier_);
  }

  View indices(int64_t n) { return arena_tensor(run_, DType::kI32, n); }

  // Every prompt once; its keys and values go to all of its completions. The first token comes from the
  // prompt's last row.
  void prefill(const int32_t* ids, const int32_t* offsets, int64_t first_prompt, int64_t last_prompt) {
    for (int64_t p = first_prompt; p <= last_prompt;) {
      int64_t end = p + 1;
      while (end <= last_prompt && offsets[end + 1] - offsets[p] <= kPrefillTokens)
        ++end;
      checkpoint(run_);
      Scratch scratch(run_);
      prefill_block(ids, offsets, p, end);
      p = end;
    }
  }

  void prefill_block(const int32_t* ids, const int32_t* offsets, int64_t begin, int64_t end) {
    const int64_t per_prompt = options_.num_return_sequences;
    const Activations a =
        forward(model_, make_batch(ids, offsets + begin, end - begin, run_), Keep::kAll, run_);
    std::vector<int32_t> rows, slots, positions, completions, last_rows;
    for (int64_t p = begin; p < end; ++p)
      for (int64_t c = std::max(p * per_prompt, first_); c < std::min((p + 1) * per_prompt, first_ + count_);
           ++c) {
        const int32_t length = offsets[p + 1] - offsets[p], row = offsets[p] - offsets[begin];
        for (int32_t t = 0; t < length; ++t)
          rows.push_back(row + t), slots.push_back(int32_t(c - first_)), positions.push_back(t);
        completions.push_back(int32_t(c - first_)), last_rows.push_back(row + length - 1);
        lengths_[c - first_] = length;
      }
    const auto view = [](std::vector<int32_t>& v) {
      return make_view(v.data(), DType::kI32, int64_t(v.size()));
    };
    for (int l = 0; l < spec_.layers; ++l) {
      const HeadViews heads = head_views(spec_, a.layers[l].qkv);
      append(l, heads, view(rows), view(slots), view(positions));
    }
    if (options_.max_new_tokens == 0) return;
    EmbeddingArgs gather;
    gather.table = a.features(), gather.ids = view(last_rows);
    gather.y = arena_tensor(run_, run_.real(), int64_t(last_rows.size()), spec_.hidden_size);
    dispatch(gather, run_);
    const View z = arena_tensor(run_, run_.real(), int64_t(last_rows.size()), spec_.vocab_size);
    logits(model_, gather.y, z, run_);
    sample(z, completions, 0);
  }

  void append(int l, const HeadViews& heads, const View& rows, const View& slots, const View& positions) {
    KvAppendArgs args;
    args.k = heads.k, args.v = heads.v, args.rows = rows, args.slots = slots, args.positions = positions;
    args.cache_k = keys_[l], args.cache_v = values_[l];
    dispatch(args, run_);
  }

  // Draws token number `counter` of each completion in `active` from its row of z.
  void sample(const View& z, const std::vector<int32_t>& active, int64_t counter) {
    const int64_t B = int64_t(active.size());
    SampleTokenArgs args;
    args.logits = z, args.streams = indices(B), args.counters = indices(B), args.tokens = indices(B);
    args.logps = host_tensor(run_, run_.real(), B);
    args.temperature = options_.temperature, args.top_p = options_.top_p, args.min_p = options_.min_p,
    args.top_k = options_.top_k;
    args.seed = options_.seed, args.first_stream = options_.first_stream + first_;
    for (int64_t b = 0; b < B; ++b) {
      args.streams.as<int32_t>()[b] = active[b];
      args.counters.as<int32_t>()[b] = int32_t(counter);
    }
    dispatch(args, run_);
    for (int64_t b = 0; b < B; ++b) {
      const int32_t token = args.tokens.as<int32_t>()[b];
      tokens_[active[b]].push_back(token);
      logps_[active[b]].push_back(args.logps.dtype == DType::kF64 ? args.logps.as<double>()[b]
                                                                  : args.logps.as<float>()[b]);
      stopped_[active[b]] =
          std::find(options_.stop.begin(), options_.stop.end(), token) != options_.stop.end();
    }
  }

  // A completion goes on while its latest token is not a stop token, is wanted to be followed, and the
  // context has a place for the next: whoever scores it reads all of it.
  void drop_finished(std::vector<int32_t>& active) const {
    std::erase_if(active, [&](int32_t c) {
      return stopped_[c] || int64_t(tokens_[c].size()) >= options_.max_new_tokens ||
             lengths_[c] + 1 >= spec_.max_positions;
    });
  }

  // Reads the latest token of every active completion, and gives the logits of the next.
  View step_logits(const std::vector<int32_t>& active) {
    const int64_t B = int64_t(active.size()), C = spec_.hidden_size;
    const View z = arena_tensor(run_, run_.real(), B, spec_.vocab_size);
    const View ids = indices(B), positions = indices(B), slots = indices(B), lengths = indices(B),
               rows = indices(B);
    for (int64_t b = 0; b < B; ++b) {
      const int32_t c = active[b];
      ids.as<int32_t>()[b] = tokens_[c].back();
      positions.as<int32_t>()[b] = lengths_[c]++;
      slots.as<int32_t>()[b] = c;
      lengths.as<int32_t>()[b] = lengths_[c];
      rows.as<int32_t>()[b] = int32_t(b);
    }
    View x = arena_tensor(run_, run_.real(), B, C), next = arena_tensor(run_, run_.real(), B, C);
    embed(model_, ids, positions, x, run_);
    for (int l = 0; l < spec_.layers; ++l) {
      Scratch scratch(run_);
      layer(l, x, next, positions, slots, lengths, rows);
      std::swap(x, next);
    }
    apply_linears(spec_, &classifier_, 1, normed(model_.final_norm(), x), z, View{}, run_);
    return z;
  }

  View normed(const NormWeights& weights, const View& x) {
    NormArgs args;
    args.x = x, args.gain = model_.weight(weights.gain),
    args.y = arena_tensor(run_, run_.stored(), x.shape[0], x.shape[1]);
    if (weights.bias >= 0) args.bias = model_.weight(weights.bias);
    args.kind = spec_.norm, args.eps = spec_.norm_eps;
    dispatch(args, run_);
    return args.y;
  }

  void layer(int l, const View& x, const View& out, const View& positions, const View& slots,
             const View& lengths, const View& rows) {
    const LayerWeights& w = model_.layer(l);
    const int64_t B = x.shape[0];
    const LayerLinears& linears = linears_[l];
    const auto tensor = [&](int64_t columns) { return arena_tensor(run_, run_.stored(), B, columns); };
    const View qkv = tensor((spec_.heads + 2 * spec_.kv_heads) * spec_.head_dim);
    apply_linears(spec_, linears.qkv.data(), linears.qkv.size(), normed(w.attention_norm, x), qkv, View{},
                  run_);
    const HeadViews heads = head_views(spec_, qkv);
    if (w.q_norm >= 0) norm_heads(w.q_norm, heads.q);
    if (w.k_norm >= 0) norm_heads(w.k_norm, heads.k);
    rotate(model_, positions, heads.q, false, run_);
    rotate(model_, positions, heads.k, false, run_);
    append(l, heads, rows, slots, positions);
    const View attention = tensor(spec_.heads * spec_.head_dim),
               middle = arena_tensor(run_, run_.real(), B, spec_.hidden_size);
    AttentionDecodeArgs args;
    args.q = heads.q, args.cache_k = keys_[l], args.cache_v = values_[l], args.slots = slots,
    args.lengths = lengths;
    args.y = attention.split_last(spec_.heads), args.scale = spec_.attention_scale;
    dispatch(args, run_);
    apply_linears(spec_, &linears.attention_out, 1, attention, middle, x, run_);
    const View in = tensor(spec_.mlp_size * int64_t(spec_.activation == ActivationKind::kSiluGate ? 2 : 1)),
               act = tensor(spec_.mlp_size);
    apply_linears(spec_, linears.mlp_in.data(), linears.mlp_in.size(),
                  normed(w.mlp_norm, spec_.parallel_residual ? x : middle), in, View{}, run_);
    activate(spec_, in, act, run_);
    apply_linears(spec_, &linears.mlp_down, 1, act, out, middle, run_);
  }

  void norm_heads(int gain, const View& heads) {
    Scratch scratch(run_);
    const int64_t rows = heads.shape[0] * heads.shape[1];
    NormArgs args;
    args.x = arena_tensor(run_, run_.real(), rows, heads.shape[2]),
    args.y = arena_tensor(run_, run_.real(), rows, heads.shape[2]);
    args.gain = model_.weight(gain), args.kind = NormKind::kRms, args.eps = spec_.norm_eps;
    copy_heads(heads, args.x, Copy::kOut, run_);
    dispatch(args, run_);
    copy_heads(heads, args.y, Copy::kIn, run_);
  }

  const Model& model_;
  const ModelSpec& spec_;
  const GenerateOptions& options_;
  Run& run_;
  const int64_t first_, count_;
  std::vector<LayerLinears> linears_;  // per layer
  Linear classifier_;
  std::vector<View> keys_, values_;  // per layer (count, positions, G, D)
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<std::vector<double>> logps_;
  std::vector<uint8_t> stopped_;
  std::vector<int32_t> lengths_;  // tokens whose keys and values are in the cache
};

}  // namespace

bool packs_weights(const Model& model, const GenerateOptions& options) {
  return !model.context()->device() && options.max_new_tokens >= kPackedSteps &&
         model.size() * dtype_bytes(model.context()->real()) <= kPackedBytes;
}

int64_t packed_bytes(const Model& model) {
  const auto bytes = [](const std::vector<Linear>& linears) {
    int64_t sum = 0;
    for (const Linear& linear : linears)
      sum += gemm_packed_bytes(linear.in(), linear.out());
    return sum;
  };
  int64_t sum = gemm_packed_bytes(model.spec().hidden_size, model.spec().vocab_size);
  for (int l = 0; l < model.spec().layers; ++l) {
    const LayerWeights& w = model.layer(l);
    sum += bytes(w.qkv) + bytes(w.mlp_in) + bytes({w.attention_out, w.mlp_down});
  }
  return sum;
}

Completions generate(const Model& model, const int32_t* ids, const int32_t* offsets, int64_t prompts,
                     const GenerateOptions& options, Run& run) {
  Completions out;
  out.offsets.push_back(0);
  const int64_t total = prompts * options.num_return_sequences;
  for (int64_t first = 0; first < total; first += options.max_batch) {
    Scratch scratch(run);
    Decoder decoder(model, ids, offsets, options, first, std::min(options.max_batch, total - first), run);
    decoder.decode();
    decoder.append_to(out);
  }
  return out;
}

}  // namespace hf
