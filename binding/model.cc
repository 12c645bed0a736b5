#include "env.h"
#include "loss_arrays.h"
#include "model/forward.h"
#include "model/load.h"
#include "model_spec.h"
#include "objects.h"
#include "options.h"
#include "packed.h"
#include "policy/generate.h"
#include "policy/memory.h"
#include "policy/score.h"

namespace hf::binding {
namespace {

Napi::Value undefined(Napi::Env env) {
  return env.Undefined();
}

std::shared_ptr<ContextTensor> tensor_of(const Options& options, const char* name) {
  if (!options.has(name)) return nullptr;
  return TensorHandle::Unwrap(options.get(name).As<Napi::Object>())->get("tensor");
}

View features_view(const char* function, const std::shared_ptr<ContextTensor>& tensor, const Packed& packed,
                   const Model& model) {
  if (!tensor) return View{};
  const View& view = tensor->tensor.view;
  HF_CHECK(view.rank == 2 && view.shape[0] == packed.samples().scored() &&
               view.shape[1] == model.spec().hidden_size && view.dtype == model.context()->real(),
           ErrorCode::kShape, "%s: features must be (%lld, %lld) from features() of the same samples",
           function, static_cast<long long>(packed.samples().scored()),
           static_cast<long long>(model.spec().hidden_size));
  return view;
}

// A Uint8Array with one entry per parameter.
std::vector<bool> parameter_mask(const char* caller, const Napi::Value& value, const Model& model) {
  const size_t count = model.parameters().size();
  HF_CHECK(value.IsTypedArray() && value.As<Napi::TypedArray>().ElementLength() == count,
           ErrorCode::kInvalidArg, "%s: a Uint8Array with one entry per parameter (%zu) is required", caller,
           count);
  const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  return std::vector<bool>(array.Data(), array.Data() + count);
}

}  // namespace

Napi::Function ModelHandle::define(Napi::Env env) {
  using M = ModelHandle;
  return DefineClass(env, "Model",
                     {InstanceAccessor<&M::size>("size"),
                      InstanceMethod<&M::read_parameter>("readParameter"),
                      InstanceMethod<&M::read_merged>("readMerged"),
                      InstanceMethod<&M::write_parameter>("writeParameter"),
                      InstanceMethod<&M::load_parameter>("loadParameter"),
                      InstanceMethod<&M::init_parameter>("initParameter"),
                      InstanceMethod<&M::clone>("clone"),
                      InstanceMethod<&M::set_trainable>("setTrainable"),
                      InstanceMethod<&M::read_gradient>("readGradient"),
                      InstanceMethod<&M::zero_gradients>("zeroGradients"),
                      InstanceMethod<&M::forward>("forward"),
                      InstanceMethod<&M::features>("features"),
                      InstanceMethod<&M::score>("score"),
                      InstanceMethod<&M::accumulate>("accumulate"),
                      InstanceMethod<&M::generate>("generate"),
                      InstanceMethod<&M::footprint>("footprint"),
                      InstanceMethod<&M::plan_gram>("planGram"),
                      InstanceMethod<&M::gram>("gram"),
                      InstanceMethod<&M::per_sample_gradients>("perSampleGradients"),
                      InstanceMethod<&M::sketch>("sketch"),
                      InstanceMethod<&M::vector_product>("vectorProduct"),
                      InstanceMethod<&M::linear_model>("linearModel"),
                      InstanceMethod<&M::jvp>("jvp"),
                      InstanceMethod<&M::vjp>("vjp"),
                      InstanceMethod<&M::row_tangents>("rowTangents"),
                      InstanceMethod<&M::dispose>("dispose")});
}

// new Model(context, spec), or from clone() with the native model in an External.
ModelHandle::ModelHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelHandle>(info) {
  guarded(info.Env(), [&] {
    if (info[0].IsExternal()) {
      object_ = std::move(*info[0].As<Napi::External<std::shared_ptr<Model>>>().Data());
    } else {
      const std::shared_ptr<Context>& context =
          ContextHandle::Unwrap(info[0].As<Napi::Object>())->get("context");
      object_ = std::make_shared<Model>(context, model_spec_of(info[1]));
    }
    adjust_memory(info.Env(), object_->weight_bytes());
  });
}

int ModelHandle::parameter(const Napi::CallbackInfo& info) const {
  const int64_t index = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
  HF_CHECK(index >= 0 && index < int64_t(get("model")->parameters().size()), ErrorCode::kInvalidArg,
           "Model: there is no parameter number %lld", static_cast<long long>(index));
  return int(index);
}

Napi::Value ModelHandle::size(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), double(get("model")->size()));
  });
}

Napi::Value ModelHandle::read_parameter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int index = parameter(info);
    return read_view(info.Env(), object_->context(), object_, object_->weight(index));
  });
}

Napi::Value ModelHandle::read_merged(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int index = parameter(info);
    return EnvData::of(info.Env())
        .submit(object_->context(), info.Env().Undefined(), [model = object_, index](Run& run) -> Convert {
      View out = model->weight(index);
      auto numbers = std::make_shared<std::vector<char>>(static_cast<size_t>(out.bytes()));
      out.data = numbers->data();
      merged_weight(*model, index, out, run);
      return [numbers, dtype = out.dtype, count = out.size()](Napi::Env env) {
        return typed_array(env, dtype, numbers->data(), count);
      };
    });
  });
}

Napi::Value ModelHandle::write_parameter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int index = parameter(info);
    const View target = object_->weight(index);
    auto numbers = std::make_shared<std::vector<char>>(
        copy_numbers("setParameter", "data", info[1], target.dtype, target.size()));
    return EnvData::of(info.Env())
        .submit(object_->context(), info.Env().Undefined(),
                [model = object_, index, target, numbers](Run& run) -> Convert {
      copy_memory(run.device, target.data, numbers->data(), int64_t(numbers->size()));
      model->refresh(index, run);
      return undefined;
    });
  });
}

Napi::Value ModelHandle::load_parameter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int index = parameter(info);
    return load_view("loadParameter", info, 1, object_->context(), object_, object_->weight(index),
                     [model = object_.get(), index](Run& run) { model->refresh(index, run); });
  });
}

Napi::Value ModelHandle::init_parameter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int index = parameter(info);
    const double std = info[1].ToNumber().DoubleValue(), mean = info[2].ToNumber().DoubleValue();
    const uint64_t seed = uint64_t(info[3].ToNumber().Int64Value());
    return EnvData::of(info.Env())
        .submit(object_->context(), info.Env().Undefined(),
                [model = object_, index, std, mean, seed](Run& run) -> Convert {
      fill_normal(model->weight(index), mean, std, seed, uint64_t(index), run);
      model->refresh(index, run);
      return undefined;
    });
  });
}

Napi::Value ModelHandle::clone(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return EnvData::of(info.Env())
        .submit(get("model")->context(), info.Env().Undefined(), [model = object_](Run&) -> Convert {
      auto copy = std::make_shared<std::shared_ptr<Model>>(model->clone());
      return [copy](Napi::Env env) -> Napi::Value {
        return EnvData::of(env).model.New({Napi::External<std::shared_ptr<Model>>::New(env, copy.get())});
      };
    });
  });
}

// Queued like a job, so that jobs submitted before it still see the old choice.
void ModelHandle::set_trainable(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const std::vector<bool> mask = parameter_mask("setTrainable", info[0], *get("model"));
    object_->context()->submit({std::make_shared<JobControl>(), [model = object_, mask](Run&) {
      model->set_trainable(mask);
    }, [](std::exception_ptr) {}});
  });
}

Napi::Value ModelHandle::read_gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int index = parameter(info);
    return EnvData::of(info.Env())
        .submit(object_->context(), info.Env().Undefined(), [model = object_, index](Run&) -> Convert {
      const View view = model->view_in(model->gradients(), index);
      auto copy = std::make_shared<std::vector<char>>(view.as<char>(), view.as<char>() + view.bytes());
      return [copy, dtype = view.dtype, count = view.size()](Napi::Env env) {
        return typed_array(env, dtype, copy->data(), count);
      };
    });
  });
}

Napi::Value ModelHandle::zero_gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return EnvData::of(info.Env())
        .submit(get("model")->context(), info.Env().Undefined(), [model = object_](Run&) -> Convert {
      model->zero_gradients();
      return undefined;
    });
  });
}

Napi::Value ModelHandle::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options want("forward", info[1]);
    const bool with_logits = want.flag("logits"), with_features = want.flag("hiddenStates");
    const auto packed = packed_sequences("forward", info[0], *get("model"));
    return EnvData::of(info.Env())
        .submit(object_->context(), info[2],
                [model = object_, packed, with_logits, with_features](Run& run) -> Convert {
      auto z = std::make_shared<std::vector<Tensor>>(), phi = std::make_shared<std::vector<Tensor>>();
      const ModelSpec& spec = model->spec();
      for (int64_t s = 0; s < packed->sequences(); ++s) {
        checkpoint(run);
        Scratch scratch(run);
        const Batch batch = make_batch(packed->ids.data(), packed->offsets.data() + s, 1, run);
        const View features = hf::forward(*model, batch, Keep::kFeatures, run).features();
        const std::shared_ptr<MemoryCounter>& counter = model->context()->counter();
        if (with_features) {
          phi->push_back(Tensor::create(counter, run.real(), batch.rows(), spec.hidden_size));
          copy_numbers(run, phi->back().view, features);
        }
        if (with_logits) {
          z->push_back(Tensor::create(counter, run.real(), batch.rows(), spec.vocab_size));
          logits(*model, features, z->back().view, run);
        }
        report_progress(run, packed->offsets[s + 1], packed->offsets.back());
      }
      return [model, z, phi](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("logits", tensors_to_js(env, model->context(), *z));
        result.Set("hiddenStates", tensors_to_js(env, model->context(), *phi));
        return result;
      };
    });
  });
}

Napi::Value ModelHandle::features(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto packed = packed_samples("features", info[0], *get("model"));
    return EnvData::of(info.Env())
        .submit(object_->context(), info[1], [model = object_, packed](Run& run) -> Convert {
      Tensor out = Tensor::create(model->context()->counter(), run.real(), packed->samples().scored(),
                                  model->spec().hidden_size);
      scored_features(*model, packed->samples(), out.view, run);
      return [model, out](Napi::Env env) -> Napi::Value {
        return TensorHandle::wrap(env, model->context(), out);
      };
    });
  });
}

Napi::Value ModelHandle::score(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("score", info[1]);
    const auto packed = packed_samples("score", info[0], *get("model"));
    const auto arrays =
        loss_of(options, packed->samples().scored(), object_->context()->real(), /*gradients=*/false);
    const auto tensor = tensor_of(options, "features");
    const View features = features_view("score", tensor, *packed, *object_);
    return EnvData::of(info.Env())
        .submit(object_->context(), info[2],
                [model = object_, packed, arrays, tensor, features](Run& run) -> Convert {
      hf::score(*model, packed->samples(), arrays->batch, features, run);
      return [arrays](Napi::Env env) { return arrays->to_js(env); };
    });
  });
}

Napi::Value ModelHandle::accumulate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("accumulateGradients", info[1]);
    const auto packed = packed_samples("accumulateGradients", info[0], *get("model"));
    const auto arrays =
        loss_of(options, packed->samples().scored(), object_->context()->real(), /*gradients=*/true);
    const auto tensor = tensor_of(options, "features");
    const View features = features_view("accumulateGradients", tensor, *packed, *object_);
    std::shared_ptr<Model> reference;
    if (options.has("reference")) {
      reference = ModelHandle::Unwrap(options.get("reference").As<Napi::Object>())->get("model");
      HF_CHECK(reference->context() == object_->context(), ErrorCode::kInvalidArg,
               "accumulateGradients: the reference model must be on the same context");
      HF_CHECK(reference->spec().vocab_size == object_->spec().vocab_size, ErrorCode::kShape,
               "accumulateGradients: the reference model's vocabulary has %lld entries, this one's %lld",
               static_cast<long long>(reference->spec().vocab_size),
               static_cast<long long>(object_->spec().vocab_size));
    }
    AccumulateOptions how;
    how.reference = reference.get(),
    how.checkpointing = options.has("gradientCheckpointing") && options.flag("gradientCheckpointing");
    if (options.has("maxTokens")) how.max_tokens = options.integer("maxTokens");
    return EnvData::of(info.Env())
        .submit(object_->context(), info[2],
                [model = object_, packed, arrays, tensor, features, reference, how](Run& run) -> Convert {
      hf::accumulate(*model, packed->samples(), arrays->batch, features, how, run);
      return [arrays](Napi::Env env) { return arrays->to_js(env); };
    });
  });
}

Napi::Value ModelHandle::generate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("generate", info[1]);
    const auto packed = packed_sequences("generate", info[0], *get("model"));
    GenerateOptions g;
    g.max_new_tokens = options.integer("maxNewTokens"),
    g.num_return_sequences = options.integer("numReturnSequences");
    g.temperature = options.number("temperature"), g.top_p = options.number("topP"),
    g.min_p = options.number("minP"), g.top_k = options.integer("topK");
    g.seed = options.integer("seed"), g.first_stream = options.integer("firstStream"),
    g.max_batch = options.integer("maxBatch");
    g.stop = options.indices("stop");
    HF_CHECK(g.max_new_tokens >= 0 && g.num_return_sequences >= 1 && g.max_batch >= 1, ErrorCode::kInvalidArg,
             "generate: maxNewTokens >= 0, numReturnSequences >= 1 and maxBatch >= 1 expected");
    return EnvData::of(info.Env())
        .submit(object_->context(), info[2], [model = object_, packed, g](Run& run) -> Convert {
      auto c = std::make_shared<Completions>(
          hf::generate(*model, packed->ids.data(), packed->offsets.data(), packed->sequences(), g, run));
      return [c, real = run.real()](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("ids", typed_array(env, DType::kI32, c->ids.data(), int64_t(c->ids.size())));
        std::vector<float> logps(c->logps.begin(), c->logps.end());
        result.Set("logps", typed_array(env, DType::kF32, logps.data(), int64_t(logps.size())));
        result.Set("offsets", typed_array(env, DType::kI32, c->offsets.data(), int64_t(c->offsets.size())));
        result.Set("stopped", typed_array(env, DType::kU8, c->stopped.data(), int64_t(c->stopped.size())));
        return result;
      };
    });
  });
}

Napi::Value ModelHandle::footprint(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("footprint", info[0]);
    const Model& model = *get("model");
    AccumulateOptions how;
    how.checkpointing = options.flag("gradientCheckpointing");
    if (options.has("maxTokens")) how.max_tokens = options.integer("maxTokens");
    if (options.flag("exactKl")) how.reference = &model;  // a reference model has this one's shape
    GenerateOptions g;
    g.max_new_tokens = options.integer("maxNewTokens"),
    g.num_return_sequences = options.integer("numReturnSequences");
    const SampleSizes sizes{options.integer("sequences"), options.integer("sequenceLength"),
                            options.integer("scoredLength")};
    const int64_t prompts = options.integer("prompts");
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("weights", double(model.weight_bytes()));
    const std::vector<bool> trainable =
        parameter_mask("footprint", info[0].As<Napi::Object>().Get("trainable"), model);
    result.Set("accumulate", double(accumulate_bytes(model, sizes, how, trainable)));
    result.Set("score", double(score_bytes(model, sizes)));
    result.Set("generate", prompts > 0
                               ? double(generate_bytes(model, prompts, options.integer("promptLength"), g))
                               : 0.0);
    return result;
  });
}

void ModelHandle::release(Napi::Env env) {
  if (object_) adjust_memory(env, -object_->weight_bytes());
  object_ = nullptr;
}
void ModelHandle::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
}
void ModelHandle::Finalize(Napi::Env env) {
  release(env);
}

}  // namespace hf::binding
