// The JavaScript class Optimizer.
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
  const View moments = which == "exp_avg" ? optimizer.exp_avg() : optimizer.exp_avg_sq();
  return optimizer.model().view_in(moments, int(index));
}

}  // namespace

OptimizerStep optimizer_step_of(const Options& options, const Model& model) {
  OptimizerStep step;
  step.lr = options.number("lr");
  step.beta1 = options.number("beta1", step.beta1);
  step.beta2 = options.number("beta2", step.beta2);
  step.eps = options.number("eps", step.eps);
  step.weight_decay = options.number("weightDecay", step.weight_decay);
  step.max_grad_norm = options.number("maxGradNorm", step.max_grad_norm);
  if (options.has("lrScale"))
    step.lr_scale = copy_doubles(options.function(), "lrScale", options.get("lrScale"),
                                 int64_t(model.parameters().size()));
  return step;
}

Napi::Function OptimizerHandle::define(Napi::Env env) {
  using O = OptimizerHandle;
  return DefineClass(env, "Optimizer",
                     {
                         InstanceMethod<&O::checked<&O::step>>("step"),
                         InstanceAccessor<&O::checked<&O::step_count>, &O::set_step_count>("stepCount"),
                         InstanceMethod<&O::checked<&O::read_state>>("readState"),
                         InstanceMethod<&O::checked<&O::write_state>>("writeState"),
                         InstanceMethod<&O::checked<&O::load_state>>("loadState"),
                         InstanceMethod<&O::dispose>("dispose"),
                     });
}

// new Optimizer(model)
OptimizerHandle::OptimizerHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<OptimizerHandle>(info) {
  guarded(info.Env(), [&] { object_ = std::make_shared<Optimizer>(ModelHandle::of(info[0])); });
}

// ({ lr, beta1, … }) → { gradNorm, applied }
Napi::Value OptimizerHandle::step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Optimizer> optimizer = get("optimizer");
  const OptimizerStep step = optimizer_step_of(Options("AdamW.step", info[0]), optimizer->model());
  const Work work = [optimizer, step](Run& run) -> Convert {
    const Optimizer::Result result = optimizer->step(step, run);
    return [result](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("gradNorm", result.grad_norm);
      object.Set("applied", result.applied);
      return object;
    };
  };
  return EnvData::of(info.Env()).submit(optimizer->model().context(), info.Env().Undefined(), work);
}

Napi::Value OptimizerHandle::step_count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), double(get("optimizer")->steps));
}

void OptimizerHandle::set_step_count(const Napi::CallbackInfo& info, const Napi::Value& value) {
  guarded(info.Env(), [&] { get("optimizer")->steps = value.ToNumber().Int64Value(); });
}

// (index, which) → its numbers
Napi::Value OptimizerHandle::read_state(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Optimizer>& optimizer = get("optimizer");
  return read_view(info.Env(), optimizer->model().context(), optimizer, state_view(info, *optimizer));
}

// (index, which, numbers)
Napi::Value OptimizerHandle::write_state(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Optimizer> optimizer = get("optimizer");
  const View target = state_view(info, *optimizer);
  const auto numbers = host_numbers("AdamW.loadState", "state", info[2], target.dtype, target.size());
  const Work work = [optimizer, target, numbers](Run& run) -> Convert {
    copy_memory(run.device, target.data, numbers->bytes.data(), target.bytes());
    return undefined;
  };
  return EnvData::of(info.Env()).submit(optimizer->model().context(), info.Env().Undefined(), work);
}

// (index, which, path, offset, dtype)
Napi::Value OptimizerHandle::load_state(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Optimizer>& optimizer = get("optimizer");
  return load_view("loadState", info, 2, optimizer->model().context(), optimizer,
                   state_view(info, *optimizer));
}

void OptimizerHandle::dispose(const Napi::CallbackInfo&) {
  object_ = nullptr;
}

}  // namespace hf::binding
