// The JavaScript classes Context, Tensor, Model and Optimizer: thin handles on shared native objects. A job
// holds what it uses, so disposing a handle, or losing it to the collector, never pulls memory from under a
// running job.
//
// Every method has the same shape. It converts its arguments, queues one native call on the context's thread
// and names the conversion of its result:
//   Napi::Value ModelHandle::features(const Napi::CallbackInfo& info) {
//     const auto packed = packed_samples("features", info[0], *get());
//     return queue(info, info[1], [model = object_, packed](Run& run) -> Convert {
//       return tensor_result(model->context(), scored_features(*model, packed->samples(), run));
//     });
//   }
// Methods are registered through checked<…>, which turns C++ exceptions into JavaScript ones.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "env.h"
#include "model/model.h"
#include "numbers.h"
#include "policy/optimizer.h"
#include "runtime/buffer.h"
#include "runtime/context.h"

namespace hf::binding {

class Options;

// The native object of a handle.
template <class T>
class Handle {
 public:
  // ERR_DISPOSED after dispose(), naming the handle as `what`.
  const std::shared_ptr<T>& get(const char* what) const {
    HF_CHECK(object_, ErrorCode::kDisposed, "this %s was disposed", what);
    return object_;
  }
  bool disposed() const { return !object_; }

 protected:
  std::shared_ptr<T> object_;
};

// A device, its threads and its queue of jobs.
class ContextHandle : public Napi::ObjectWrap<ContextHandle>, public Handle<Context> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ContextHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;
  // The native object of a JavaScript value that is one.
  static std::shared_ptr<Context> of(Napi::Value value) {
    return Unwrap(value.As<Napi::Object>())->get("context");
  }

 private:
  template <Napi::Value (ContextHandle::*method)(const Napi::CallbackInfo&)>
  Napi::Value checked(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return (this->*method)(info); });
  }
  Napi::Value backend(const Napi::CallbackInfo& info);
  Napi::Value threads(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
};

// A tensor and the context whose memory it lies in.
struct ContextTensor {
  std::shared_ptr<Context> context;
  Tensor tensor;
};

// Numbers in a context's memory.
class TensorHandle : public Napi::ObjectWrap<TensorHandle>, public Handle<ContextTensor> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TensorHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Context> context, Tensor tensor);
  static std::shared_ptr<ContextTensor> of(Napi::Value value) {
    return Unwrap(value.As<Napi::Object>())->get("tensor");
  }

 private:
  template <Napi::Value (TensorHandle::*method)(const Napi::CallbackInfo&)>
  Napi::Value checked(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return (this->*method)(info); });
  }
  static Napi::Value from(const Napi::CallbackInfo& info);
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value is_disposed(const Napi::CallbackInfo& info);
  Napi::Value data(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);
};

// Weights and their wiring, and everything that is computed with them. The methods are defined by subject:
// in model.cc, model_policy.cc, ntk_gram.cc, ntk_products.cc, derivatives.cc and explain.cc.
class ModelHandle : public Napi::ObjectWrap<ModelHandle>, public Handle<Model> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;
  static std::shared_ptr<Model> of(Napi::Value value) {
    return Unwrap(value.As<Napi::Object>())->get("model");
  }

 private:
  template <Napi::Value (ModelHandle::*method)(const Napi::CallbackInfo&)>
  Napi::Value checked(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return (this->*method)(info); });
  }

  // model.cc: parameters and gradients
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value read_parameter(const Napi::CallbackInfo& info);
  Napi::Value read_merged(const Napi::CallbackInfo& info);
  Napi::Value write_parameter(const Napi::CallbackInfo& info);
  Napi::Value load_parameter(const Napi::CallbackInfo& info);
  Napi::Value init_parameter(const Napi::CallbackInfo& info);
  Napi::Value clone(const Napi::CallbackInfo& info);
  Napi::Value set_trainable(const Napi::CallbackInfo& info);
  Napi::Value read_gradient(const Napi::CallbackInfo& info);
  Napi::Value zero_gradients(const Napi::CallbackInfo& info);

  // model_policy.cc: what the policy says, learns and samples
  Napi::Value features(const Napi::CallbackInfo& info);
  Napi::Value score(const Napi::CallbackInfo& info);
  Napi::Value accumulate(const Napi::CallbackInfo& info);
  Napi::Value generate(const Napi::CallbackInfo& info);
  Napi::Value footprint(const Napi::CallbackInfo& info);

  // ntk_gram.cc: kernels as matrices
  Napi::Value plan_gram(const Napi::CallbackInfo& info);
  Napi::Value gram(const Napi::CallbackInfo& info);
  Napi::Value sketch(const Napi::CallbackInfo& info);

  // ntk_products.cc: gradients of functions and products with them
  Napi::Value per_sample_gradients(const Napi::CallbackInfo& info);
  Napi::Value vector_product(const Napi::CallbackInfo& info);
  Napi::Value linear_model(const Napi::CallbackInfo& info);

  // derivatives.cc: logits and features of whole sequences, and their derivatives
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value jvp(const Napi::CallbackInfo& info);
  Napi::Value vjp(const Napi::CallbackInfo& info);

  // explain.cc: what a step does to the policy
  Napi::Value explain_step(const Napi::CallbackInfo& info);

  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  const std::shared_ptr<Model>& get() const { return Handle::get("model"); }
  using Handle::get;
  // The first argument, a parameter's index.
  int parameter(const Napi::CallbackInfo& info) const;
  // Queues `work` on the model's context: { promise, cancel }. `progress` is a function or undefined.
  Napi::Value queue(const Napi::CallbackInfo& info, Napi::Value progress, Work work) const;
  Napi::Value queue(const Napi::CallbackInfo& info, Work work) const;
};

// AdamW's moments and its step.
class OptimizerHandle : public Napi::ObjectWrap<OptimizerHandle>, public Handle<Optimizer> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit OptimizerHandle(const Napi::CallbackInfo& info);
  static std::shared_ptr<Optimizer> of(Napi::Value value) {
    return Unwrap(value.As<Napi::Object>())->get("optimizer");
  }

 private:
  template <Napi::Value (OptimizerHandle::*method)(const Napi::CallbackInfo&)>
  Napi::Value checked(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return (this->*method)(info); });
  }
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value step_count(const Napi::CallbackInfo& info);
  void set_step_count(const Napi::CallbackInfo& info, const Napi::Value& value);
  Napi::Value read_state(const Napi::CallbackInfo& info);
  Napi::Value write_state(const Napi::CallbackInfo& info);
  Napi::Value load_state(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
};

// Settings of a step of AdamW, from { lr, beta1?, … } of NativeOptimizer.step.
OptimizerStep optimizer_step_of(const Options& options, const Model& model);
// 'fp32' (also when undefined), 'tf32' or 'bf16'.
Math math_of(const char* function, Napi::Value value);

// Conversions of jobs whose result is a tensor, or several.
Convert tensor_result(std::shared_ptr<Context> context, Tensor tensor);
Napi::Array tensors_to_js(Napi::Env env, const std::shared_ptr<Context>& context,
                          const std::vector<Tensor>& tensors);

}  // namespace hf::binding
