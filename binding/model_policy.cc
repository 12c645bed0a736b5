// Model methods about the policy: what it says of given tokens, the gradient of a loss on that, sampling.
#include "loss_arrays.h"
#include "objects.h"
#include "options.h"
#include "packed.h"
#include "policy/generate.h"
#include "policy/memory.h"
#include "policy/score.h"

namespace hf::binding {
namespace {

// The features that a call is given instead of running the transformer; the tensor keeps them alive.
struct GivenFeatures {
  std::shared_ptr<ContextTensor> tensor;
  View view;  // absent when none are given
};

GivenFeatures features_of(const Options& options, const Packed& packed, const Model& model) {
  if (!options.has("features")) return {};
  const std::shared_ptr<ContextTensor> tensor = TensorHandle::of(options.get("features"));
  const View& view = tensor->tensor.view;
  const int64_t rows = packed.samples().scored();
  const int64_t C = model.spec().hidden_size;
  HF_CHECK(
      view.rank == 2 && view.shape[0] == rows && view.shape[1] == C && view.dtype == model.context()->real(),
      ErrorCode::kShape, "%s: features must be (%lld, %lld) from features() of the same samples",
      options.function(), static_cast<long long>(rows), static_cast<long long>(C));
  return {.tensor = tensor, .view = view};
}

// The reference model of a loss with an exact KL, or none.
std::shared_ptr<Model> reference_of(const Options& options, const Model& model) {
  if (!options.has("reference")) return nullptr;
  const std::shared_ptr<Model> reference = ModelHandle::of(options.get("reference"));
  HF_CHECK(reference->context() == model.context(), ErrorCode::kInvalidArg,
           "%s: the reference model must be on the same context", options.function());
  HF_CHECK(reference->spec().vocab_size == model.spec().vocab_size, ErrorCode::kShape,
           "%s: the reference model's vocabulary has %lld entries, this one's %lld", options.function(),
           static_cast<long long>(reference->spec().vocab_size),
           static_cast<long long>(model.spec().vocab_size));
  return reference;
}

AccumulateOptions accumulate_options(const Options& options, const Model* reference) {
  AccumulateOptions how;
  how.reference = reference;
  how.checkpointing = options.flag("gradientCheckpointing");
  if (options.has("maxTokens")) how.max_tokens = options.integer("maxTokens");
  return how;
}

GenerateOptions generate_options(const Options& options) {
  GenerateOptions g;
  g.max_new_tokens = options.integer("maxNewTokens");
  g.num_return_sequences = options.integer("numReturnSequences");
  g.temperature = options.number("temperature");
  g.top_k = options.integer("topK");
  g.top_p = options.number("topP");
  g.min_p = options.number("minP");
  g.seed = options.integer("seed");
  g.first_stream = options.integer("firstStream");
  g.max_batch = options.integer("maxBatch");
  g.stop = options.indices("stop");
  HF_CHECK(g.max_new_tokens >= 0 && g.num_return_sequences >= 1 && g.max_batch >= 1, ErrorCode::kInvalidArg,
           "generate: maxNewTokens >= 0, numReturnSequences >= 1 and maxBatch >= 1 expected");
  return g;
}

Napi::Object completions_to_js(Napi::Env env, const Completions& completions) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("ids", integers_to_js(env, completions.ids));
  result.Set("logps", floats_to_js(env, completions.logps));
  result.Set("offsets", integers_to_js(env, completions.offsets));
  result.Set("stopped", bytes_to_js(env, completions.stopped));
  return result;
}

}  // namespace

// (samples, progress) → φ at the scored rows
Napi::Value ModelHandle::features(const Napi::CallbackInfo& info) {
  const auto packed = packed_samples("features", info[0], *get());
  return queue(info, info[1], [model = object_, packed](Run& run) -> Convert {
    const Context& context = *model->context();
    const Tensor features =
        Tensor::create(context.counter(), run.real(), packed->samples().scored(), model->spec().hidden_size);
    scored_features(*model, packed->samples(), features.view, run);
    return tensor_result(model->context(), features);
  });
}

// (samples, { temperature, features? }, progress) → NativeScores
Napi::Value ModelHandle::score(const Napi::CallbackInfo& info) {
  const Options options("score", info[1]);
  const auto packed = packed_samples("score", info[0], *get());
  const DType real = object_->context()->real();
  const auto arrays = loss_of(options, packed->samples().scored(), real, /*gradients=*/false);
  const GivenFeatures features = features_of(options, *packed, *object_);
  return queue(info, info[2], [model = object_, packed, arrays, features](Run& run) -> Convert {
    hf::score(*model, packed->samples(), arrays->batch, features.view, run);
    return [arrays](Napi::Env env) { return arrays->to_js(env); };
  });
}

// (samples, loss and options, progress) → NativeScores; adds to the gradients.
Napi::Value ModelHandle::accumulate(const Napi::CallbackInfo& info) {
  const Options options("accumulateGradients", info[1]);
  const auto packed = packed_samples("accumulateGradients", info[0], *get());
  const DType real = object_->context()->real();
  const auto arrays = loss_of(options, packed->samples().scored(), real, /*gradients=*/true);
  const GivenFeatures features = features_of(options, *packed, *object_);
  const std::shared_ptr<Model> reference = reference_of(options, *object_);
  const AccumulateOptions how = accumulate_options(options, reference.get());
  return queue(info, info[2],
               [model = object_, packed, arrays, features, reference, how](Run& run) -> Convert {
    hf::accumulate(*model, packed->samples(), arrays->batch, features.view, how, run);
    return [arrays](Napi::Env env) { return arrays->to_js(env); };
  });
}

// (prompts, options, progress) → NativeCompletions
Napi::Value ModelHandle::generate(const Napi::CallbackInfo& info) {
  const auto packed = packed_sequences("generate", info[0], *get());
  const GenerateOptions options = generate_options(Options("generate", info[1]));
  return queue(info, info[2], [model = object_, packed, options](Run& run) -> Convert {
    const auto completions = std::make_shared<Completions>(
        hf::generate(*model, packed->ids.data(), packed->offsets.data(), packed->sequences(), options, run));
    return [completions](Napi::Env env) { return completions_to_js(env, *completions); };
  });
}

// (NativeFootprint) → bytes of { weights, accumulate, score, generate }; runs nothing.
Napi::Value ModelHandle::footprint(const Napi::CallbackInfo& info) {
  const Options options("footprint", info[0]);
  const Model& model = *get();
  const SampleSizes sizes{options.integer("sequences"), options.integer("sequenceLength"),
                          options.integer("scoredLength")};
  // A reference model has this one's shape.
  const Model* reference = options.flag("exactKl") ? &model : nullptr;
  const AccumulateOptions how = accumulate_options(options, reference);
  const std::vector<bool> trainable = options.mask("trainable", model.parameters().size());
  const int64_t prompts = options.integer("prompts");
  const int64_t prompt_length = options.integer("promptLength");
  GenerateOptions sampling;
  sampling.max_new_tokens = options.integer("maxNewTokens");
  sampling.num_return_sequences = options.integer("numReturnSequences");

  const int64_t accumulating = accumulate_bytes(model, sizes, how, trainable);
  const int64_t generating = prompts > 0 ? generate_bytes(model, prompts, prompt_length, sampling) : 0;
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("weights", double(model.weight_bytes()));
  result.Set("accumulate", double(accumulating));
  result.Set("score", double(score_bytes(model, sizes)));
  result.Set("generate", double(generating));
  return result;
}

}  // namespace hf::binding
