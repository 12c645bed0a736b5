#include <cstring>

#include "env.h"
#include "objects.h"
#include "options.h"

namespace hf::binding {
namespace {

// Moments of one parameter: (index, 'exp_avg' | 'exp_avg_sq').
View state_view(const Napi::CallbackInfo& info, Optimizer& optimizer) {
  const int64_t index = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
  HF_CHECK(index >= 0 && index < int64_t(optimizer.model().parameters().size()), ErrorCode::kInvalidArg,
           "Optimizer: there is no parameter number %lld", static_cast<long long>(index));
  const std::string which = info[1].ToString();
  HF_CHECK(which == "exp_avg" || which == "exp_avg_sq", ErrorCode::kInvalidArg,
           "Optimizer: the states are 'exp_avg' and 'exp_avg_sq', got '%s'", which.c_str());
  return optimizer.model().view_in(which == "exp_avg" ? optimizer.exp_avg() : optimizer.exp_avg_sq(),
                                   int(index));
}

}  // namespace

Napi::Function OptimizerHandle::define(Napi::Env env) {
  using O = OptimizerHandle;
  return DefineClass(
      env, "Optimizer",
      {InstanceMethod<&O::step>("step"), InstanceAccessor<&O::step_count, &O::set_step_count>("stepCount"),
       InstanceMethod<&O::read_state>("readState"), InstanceMethod<&O::write_state>("writeState"),
       InstanceMethod<&O::load_state>("loadState"), InstanceMethod<&O::dispose>("dispose")});
}

OptimizerHandle::OptimizerHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<OptimizerHandle>(info) {
  guarded(info.Env(), [&] {
    object_ = std::make_shared<Optimizer>(ModelHandle::Unwrap(info[0].As<Napi::Object>())->get("model"));
  });
}

Napi::Value OptimizerHandle::step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("AdamW.step", info[0]);
    const std::shared_ptr<Optimizer>& optimizer = get("optimizer");
    OptimizerStep step;
    step.lr = options.number("lr"), step.beta1 = options.number("beta1"),
    step.beta2 = options.number("beta2"), step.eps = options.number("eps");
    step.weight_decay = options.number("weightDecay"), step.max_grad_norm = options.number("maxGradNorm");
    if (options.has("lrScale")) {
      const int64_t count = int64_t(optimizer->model().parameters().size());
      const std::vector<char> scale =
          copy_numbers("AdamW.step", "lrScale", options.get("lrScale"), DType::kF64, count);
      step.lr_scale.resize(static_cast<size_t>(count));
      std::memcpy(step.lr_scale.data(), scale.data(), scale.size());
    }
    return EnvData::of(info.Env())
        .submit(optimizer->model().context(), info.Env().Undefined(), [optimizer, step](Run& run) -> Convert {
      const Optimizer::Result result = optimizer->step(step, run);
      return [result](Napi::Env env) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("gradNorm", result.grad_norm);
        object.Set("applied", result.applied);
        return object;
      };
    });
  });
}

Napi::Value OptimizerHandle::step_count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), double(get("optimizer")->steps));
  });
}
void OptimizerHandle::set_step_count(const Napi::CallbackInfo& info, const Napi::Value& value) {
  guarded(info.Env(), [&] { get("optimizer")->steps = value.ToNumber().Int64Value(); });
}

Napi::Value OptimizerHandle::read_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Optimizer>& optimizer = get("optimizer");
    return read_view(info.Env(), optimizer->model().context(), optimizer, state_view(info, *optimizer));
  });
}

Napi::Value OptimizerHandle::write_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Optimizer>& optimizer = get("optimizer");
    const View target = state_view(info, *optimizer);
    auto numbers = std::make_shared<std::vector<char>>(
        copy_numbers("AdamW.loadState", "state", info[2], target.dtype, target.size()));
    return EnvData::of(info.Env())
        .submit(optimizer->model().context(), info.Env().Undefined(),
                [optimizer, target, numbers](Run& run) -> Convert {
      copy_memory(run.device, target.data, numbers->data(), int64_t(numbers->size()));
      return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
    });
  });
}

Napi::Value OptimizerHandle::load_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Optimizer>& optimizer = get("optimizer");
    return load_view("loadState", info, 2, optimizer->model().context(), optimizer,
                     state_view(info, *optimizer));
  });
}

void OptimizerHandle::dispose(const Napi::CallbackInfo&) {
  object_ = nullptr;
}

}  // namespace hf::binding
