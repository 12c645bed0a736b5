#include "env.h"
#include "model/forward.h"
#include "model/load.h"
#include "model_spec.h"
#include "objects.h"
#include "options.h"

namespace hf::binding {

Napi::Function ModelHandle::define(Napi::Env env) {
  using M = ModelHandle;
  return DefineClass(env, "Model",
                     {
                         InstanceAccessor<&M::checked<&M::size>>("size"),
                         InstanceMethod<&M::checked<&M::read_parameter>>("readParameter"),
                         InstanceMethod<&M::checked<&M::read_merged>>("readMerged"),
                         InstanceMethod<&M::checked<&M::write_parameter>>("writeParameter"),
                         InstanceMethod<&M::checked<&M::load_parameter>>("loadParameter"),
                         InstanceMethod<&M::checked<&M::init_parameter>>("initParameter"),
                         InstanceMethod<&M::checked<&M::clone>>("clone"),
                         InstanceMethod<&M::checked<&M::set_trainable>>("setTrainable"),
                         InstanceMethod<&M::checked<&M::read_gradient>>("readGradient"),
                         InstanceMethod<&M::checked<&M::zero_gradients>>("zeroGradients"),
                         InstanceMethod<&M::checked<&M::features>>("features"),
                         InstanceMethod<&M::checked<&M::score>>("score"),
                         InstanceMethod<&M::checked<&M::accumulate>>("accumulate"),
                         InstanceMethod<&M::checked<&M::generate>>("generate"),
                         InstanceMethod<&M::checked<&M::footprint>>("footprint"),
                         InstanceMethod<&M::checked<&M::plan_gram>>("planGram"),
                         InstanceMethod<&M::checked<&M::gram>>("gram"),
                         InstanceMethod<&M::checked<&M::sketch>>("sketch"),
                         InstanceMethod<&M::checked<&M::per_sample_gradients>>("perSampleGradients"),
                         InstanceMethod<&M::checked<&M::vector_product>>("vectorProduct"),
                         InstanceMethod<&M::checked<&M::linear_model>>("linearModel"),
                         InstanceMethod<&M::checked<&M::forward>>("forward"),
                         InstanceMethod<&M::checked<&M::jvp>>("jvp"),
                         InstanceMethod<&M::checked<&M::vjp>>("vjp"),
                         InstanceMethod<&M::checked<&M::explain_step>>("explainStep"),
                         InstanceMethod<&M::dispose>("dispose"),
                     });
}

// new Model(context, spec), or from clone() with the native model in an External.
ModelHandle::ModelHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelHandle>(info) {
  guarded(info.Env(), [&] {
    if (info[0].IsExternal())
      object_ = std::move(*info[0].As<Napi::External<std::shared_ptr<Model>>>().Data());
    else
      object_ = std::make_shared<Model>(ContextHandle::of(info[0]), model_spec_of(info[1]));
    adjust_memory(info.Env(), object_->weight_bytes());
  });
}

int ModelHandle::parameter(const Napi::CallbackInfo& info) const {
  const int64_t index = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
  HF_CHECK(index >= 0 && index < int64_t(get()->parameters().size()), ErrorCode::kInvalidArg,
           "Model: there is no parameter number %lld", static_cast<long long>(index));
  return int(index);
}

Napi::Value ModelHandle::queue(const Napi::CallbackInfo& info, Napi::Value progress, Work work) const {
  return EnvData::of(info.Env()).submit(get()->context(), progress, std::move(work));
}

Napi::Value ModelHandle::queue(const Napi::CallbackInfo& info, Work work) const {
  return queue(info, info.Env().Undefined(), std::move(work));
}

Napi::Value ModelHandle::size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), double(get()->size()));
}

// (index) → its numbers
Napi::Value ModelHandle::read_parameter(const Napi::CallbackInfo& info) {
  const int index = parameter(info);
  return read_view(info.Env(), object_->context(), object_, object_->weight(index));
}

// (index) → W + loraScale · B A
Napi::Value ModelHandle::read_merged(const Napi::CallbackInfo& info) {
  const int index = parameter(info);
  return queue(info, [model = object_, index](Run& run) -> Convert {
    View merged = model->weight(index);
    const std::shared_ptr<HostNumbers> numbers = new_numbers(merged.dtype, merged.size());
    merged.data = numbers->bytes.data();
    merged_weight(*model, index, merged, run);
    return [numbers](Napi::Env env) { return numbers_to_js(env, *numbers); };
  });
}

// (index, numbers)
Napi::Value ModelHandle::write_parameter(const Napi::CallbackInfo& info) {
  const int index = parameter(info);
  const View target = object_->weight(index);
  const auto numbers = host_numbers("setParameter", "data", info[1], target.dtype, target.size());
  return queue(info, [model = object_, index, target, numbers](Run& run) -> Convert {
    copy_memory(run.device, target.data, numbers->bytes.data(), target.bytes());
    model->refresh(index, run);
    return undefined;
  });
}

// (index, path, offset, dtype)
Napi::Value ModelHandle::load_parameter(const Napi::CallbackInfo& info) {
  const int index = parameter(info);
  const auto refresh = [model = object_.get(), index](Run& run) { model->refresh(index, run); };
  return load_view("loadParameter", info, 1, object_->context(), object_, object_->weight(index), refresh);
}

// (index, std, mean, seed)
Napi::Value ModelHandle::init_parameter(const Napi::CallbackInfo& info) {
  const int index = parameter(info);
  const double std = info[1].ToNumber().DoubleValue();
  const double mean = info[2].ToNumber().DoubleValue();
  const uint64_t seed = uint64_t(info[3].ToNumber().Int64Value());
  return queue(info, [model = object_, index, std, mean, seed](Run& run) -> Convert {
    fill_normal(model->weight(index), mean, std, seed, uint64_t(index), run);
    model->refresh(index, run);
    return undefined;
  });
}

Napi::Value ModelHandle::clone(const Napi::CallbackInfo& info) {
  return queue(info, [model = get()](Run&) -> Convert {
    const auto copy = std::make_shared<std::shared_ptr<Model>>(model->clone());
    return [copy](Napi::Env env) -> Napi::Value {
      return EnvData::of(env).model.New({Napi::External<std::shared_ptr<Model>>::New(env, copy.get())});
    };
  });
}

// ({ mask }). Queued like a job, so that jobs submitted before it still see the old choice, but nobody waits.
Napi::Value ModelHandle::set_trainable(const Napi::CallbackInfo& info) {
  Napi::Object named = Napi::Object::New(info.Env());
  named.Set("mask", info[0]);
  const std::vector<bool> mask = Options("setTrainable", named).mask("mask", get()->parameters().size());
  object_->context()->submit(Job{
      .control = std::make_shared<JobControl>(),
      .work = [model = object_, mask](Run&) { model->set_trainable(mask); },
      .done = [](std::exception_ptr) {},
  });
  return info.Env().Undefined();
}

// (index) → its gradient's numbers
Napi::Value ModelHandle::read_gradient(const Napi::CallbackInfo& info) {
  const int index = parameter(info);
  return queue(info, [model = object_, index](Run& run) -> Convert {
    const View gradient = model->view_in(model->gradients(), index);
    const std::shared_ptr<HostNumbers> copy = new_numbers(gradient.dtype, gradient.size());
    copy_memory(run.device, copy->bytes.data(), gradient.data, gradient.bytes());
    return [copy](Napi::Env env) { return numbers_to_js(env, *copy); };
  });
}

Napi::Value ModelHandle::zero_gradients(const Napi::CallbackInfo& info) {
  return queue(info, [model = get()](Run&) -> Convert {
    model->zero_gradients();
    return undefined;
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
