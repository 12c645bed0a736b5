// The JavaScript classes Context, Tensor, Model and Optimizer: thin handles on shared native objects. A job
// holds what it uses, so disposing a handle, or losing it to the collector, never pulls memory from under a
// running job.
#pragma once

#include <napi.h>

#include <memory>

#include <functional>

#include "model/model.h"
#include "policy/optimizer.h"
#include "runtime/buffer.h"
#include "runtime/context.h"

namespace hf::binding {

// The native object of a handle; ERR_DISPOSED after dispose(), ERR_INVALID_ARG when the value is no such
// handle.
template <class T>
class Handle {
 public:
  const std::shared_ptr<T>& get(const char* what) const {
    HF_CHECK(object_, ErrorCode::kDisposed, "this %s was disposed", what);
    return object_;
  }
  bool disposed() const { return !object_; }

 protected:
  std::shared_ptr<T> object_;
};

class ContextHandle : public Napi::ObjectWrap<ContextHandle>, public Handle<Context> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ContextHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value backend(const Napi::CallbackInfo& info);
  Napi::Value threads(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
};

struct ContextTensor {
  std::shared_ptr<Context> context;
  Tensor tensor;
};

class TensorHandle : public Napi::ObjectWrap<TensorHandle>, public Handle<ContextTensor> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TensorHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Context> context, Tensor tensor);

 private:
  static Napi::Value from(const Napi::CallbackInfo& info);
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value is_disposed(const Napi::CallbackInfo& info);
  Napi::Value data(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);
};

class ModelHandle : public Napi::ObjectWrap<ModelHandle>, public Handle<Model> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value read_parameter(const Napi::CallbackInfo& info);
  Napi::Value read_merged(const Napi::CallbackInfo& info);
  Napi::Value write_parameter(const Napi::CallbackInfo& info);
  Napi::Value load_parameter(const Napi::CallbackInfo& info);
  Napi::Value init_parameter(const Napi::CallbackInfo& info);
  Napi::Value clone(const Napi::CallbackInfo& info);
  void set_trainable(const Napi::CallbackInfo& info);
  Napi::Value read_gradient(const Napi::CallbackInfo& info);
  Napi::Value zero_gradients(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value features(const Napi::CallbackInfo& info);
  Napi::Value score(const Napi::CallbackInfo& info);
  Napi::Value accumulate(const Napi::CallbackInfo& info);
  Napi::Value generate(const Napi::CallbackInfo& info);
  Napi::Value footprint(const Napi::CallbackInfo& info);
  Napi::Value plan_gram(const Napi::CallbackInfo& info);  // this and the following: binding/ntk.cc
  Napi::Value gram(const Napi::CallbackInfo& info);
  Napi::Value sketch(const Napi::CallbackInfo& info);
  Napi::Value per_sample_gradients(const Napi::CallbackInfo& info);
  Napi::Value vector_product(const Napi::CallbackInfo& info);
  Napi::Value linear_model(const Napi::CallbackInfo& info);
  Napi::Value jvp(const Napi::CallbackInfo& info);
  Napi::Value vjp(const Napi::CallbackInfo& info);
  Napi::Value row_tangents(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);
  int parameter(const Napi::CallbackInfo& info) const;  // the first argument, an index
};

class OptimizerHandle : public Napi::ObjectWrap<OptimizerHandle>, public Handle<Optimizer> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit OptimizerHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value step_count(const Napi::CallbackInfo& info);
  void set_step_count(const Napi::CallbackInfo& info, const Napi::Value& value);
  Napi::Value read_state(const Napi::CallbackInfo& info);
  Napi::Value write_state(const Napi::CallbackInfo& info);
  Napi::Value load_state(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
};

// A job that fills `target`, which `keep` owns, from a file: path, byte offset and dtype are arguments first,
// first + 1, first + 2 of `info`. `after` runs in the same job.
Napi::Value load_view(const char* function, const Napi::CallbackInfo& info, size_t first,
                      const std::shared_ptr<Context>& context, std::shared_ptr<void> keep, View target,
                      std::function<void(Run&)> after = {});
// Numbers of `view` (contiguous) as a fresh Float32Array or Float64Array, and a job that makes it.
Napi::Value read_view(Napi::Env env, const std::shared_ptr<Context>& context, std::shared_ptr<void> keep,
                      View view);
// A typed array's numbers, converted to `dtype`, copied at once.
std::vector<char> copy_numbers(const char* function, const char* name, Napi::Value value, DType dtype,
                               int64_t expected);
// A tensor of the context with the numbers of `source` (contiguous), converted to the context's real type.
Tensor copy_tensor(const std::shared_ptr<Context>& context, const View& source);
// dst[i] = src[i] over all of dst, converting; both contiguous.
void convert_numbers(const View& src, const View& dst);
Napi::Value typed_array(Napi::Env env, DType dtype, const void* data, int64_t count);
Napi::Array tensors_to_js(Napi::Env env, const std::shared_ptr<Context>& context,
                          const std::vector<Tensor>& tensors);
// 'fp32' (also when undefined), 'tf32' or 'bf16'.
Math math_of(const char* function, Napi::Value value);
// Tells the collector how much native memory a handle holds.
void adjust_memory(Napi::Env env, int64_t bytes);

}  // namespace hf::binding
