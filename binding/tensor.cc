// The JavaScript class Tensor.
#include "env.h"
#include "objects.h"
#include "ops/validate.h"
#include "views.h"

namespace hf::binding {

Napi::Function TensorHandle::define(Napi::Env env) {
  using T = TensorHandle;
  return DefineClass(env, "Tensor",
                     {
                         StaticMethod<&T::from>("from"),
                         InstanceAccessor<&T::checked<&T::shape>>("shape"),
                         InstanceAccessor<&T::checked<&T::dtype>>("dtype"),
                         InstanceAccessor<&T::is_disposed>("disposed"),
                         InstanceMethod<&T::checked<&T::data>>("data"),
                         InstanceMethod<&T::dispose>("dispose"),
                     });
}

// Called by wrap() alone, with the native tensor in an External.
TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorHandle>(info) {
  guarded(info.Env(), [&] {
    HF_CHECK(info[0].IsExternal(), ErrorCode::kInvalidArg, "Tensor: use Tensor.from(context, data, shape)");
    object_ = std::make_shared<ContextTensor>(std::move(*info[0].As<Napi::External<ContextTensor>>().Data()));
    adjust_memory(info.Env(), object_->tensor.view.bytes());
  });
}

Napi::Value TensorHandle::wrap(Napi::Env env, std::shared_ptr<Context> context, Tensor tensor) {
  ContextTensor native{std::move(context), std::move(tensor)};
  return EnvData::of(env).tensor.New({Napi::External<ContextTensor>::New(env, &native)});
}

Convert tensor_result(std::shared_ptr<Context> context, Tensor tensor) {
  return [context, tensor](Napi::Env env) { return TensorHandle::wrap(env, context, tensor); };
}

Napi::Array tensors_to_js(Napi::Env env, const std::shared_ptr<Context>& context,
                          const std::vector<Tensor>& tensors) {
  Napi::Array array = Napi::Array::New(env);
  for (const Tensor& tensor : tensors)
    array.Set(array.Length(), TensorHandle::wrap(env, context, tensor));
  return array;
}

// (context, numbers, shape)
Napi::Value TensorHandle::from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Context> context = ContextHandle::of(info[0]);
    Napi::Object described = Napi::Object::New(info.Env());
    described.Set("data", info[1]);
    described.Set("shape", info[2]);
    return wrap(info.Env(), context, copy_tensor(context, view_of("Tensor.from", "data", described)));
  });
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  return shape_to_js(info.Env(), get("tensor")->tensor.view);
}

Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), dtype_name(get("tensor")->tensor.view.dtype));
}

Napi::Value TensorHandle::is_disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), disposed());
}

Napi::Value TensorHandle::data(const Napi::CallbackInfo& info) {
  const std::shared_ptr<ContextTensor>& object = get("tensor");
  return read_view(info.Env(), object->context, object, object->tensor.view);
}

void TensorHandle::release(Napi::Env env) {
  if (object_) adjust_memory(env, -object_->tensor.view.bytes());
  object_ = nullptr;
}
void TensorHandle::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
}
void TensorHandle::Finalize(Napi::Env env) {
  release(env);
}

}  // namespace hf::binding
