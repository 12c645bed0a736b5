#include <algorithm>

#include "env.h"
#include "objects.h"
#include "ops/op_table.h"
#include "runtime/cpu.h"
#include "views.h"

namespace hf::binding {
namespace {

Backend backend_named(const std::string& name) {
  for (int i = 0; i < kBackendCount; ++i)
    if (name == backend_name(static_cast<Backend>(i))) return static_cast<Backend>(i);
  fail(ErrorCode::kInvalidArg, "Context: there is no backend '%s'", name.c_str());
}

}  // namespace

Math math_of(const char* function, Napi::Value value) {
  if (value.IsUndefined()) return Math::kExact;
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  HF_CHECK(name == "fp32" || name == "tf32" || name == "bf16", ErrorCode::kInvalidArg,
           "%s: math must be fp32, tf32 or bf16, got '%s'", function, name.c_str());
  return name == "tf32" ? Math::kTf32 : name == "bf16" ? Math::kBf16 : Math::kExact;
}

Napi::Function ContextHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Context",
      {InstanceAccessor<&ContextHandle::backend>("backend"),
       InstanceAccessor<&ContextHandle::threads>("threads"), InstanceMethod<&ContextHandle::memory>("memory"),
       InstanceMethod<&ContextHandle::dispose>("dispose")});
}

ContextHandle::ContextHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ContextHandle>(info) {
  guarded(info.Env(), [&] {
    const Napi::Object options =
        info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(info.Env());
    const Napi::Value backend = options.Get("backend"), threads = options.Get("threads");
    const Backend chosen =
        backend.IsString() ? backend_named(backend.As<Napi::String>()) : best_cpu_backend();
    const Napi::Value index = options.Get("deviceIndex");
    std::shared_ptr<Device> device =
        chosen == Backend::kCuda
            ? open_cuda(index.IsNumber() ? index.As<Napi::Number>().Int32Value() : kFirstUsable)
            : nullptr;
    HF_CHECK(backend_available(chosen), ErrorCode::kBackendUnavailable,
             "Context: this machine cannot run backend '%s'", backend_name(chosen));
    object_ = std::make_shared<Context>(
        chosen,
        threads.IsNumber() ? std::max(1, threads.As<Napi::Number>().Int32Value()) : available_threads(),
        math_of("Context", options.Get("math")), std::move(device));
    EnvData::of(info.Env()).add(object_);
  });
}

// A context that is not disposed is let go of by the collector; its thread ends once its jobs are done.
void ContextHandle::Finalize(Napi::Env) {
  if (object_) object_->close();
}

Napi::Value ContextHandle::backend(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), backend_name(get("context")->backend()));
  });
}
Napi::Value ContextHandle::threads(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::Number::New(info.Env(), get("context")->threads()); });
}
Napi::Value ContextHandle::memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Context& context = *get("context");
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("tensors", double(context.counter()->buffers.load()));
    result.Set("tensorBytes", double(context.counter()->bytes.load()));
    result.Set("arenaBytes", double(context.arena_bytes()));
    result.Set("arenaPeakBytes", double(context.take_arena_peak()));
    return result;
  });
}
void ContextHandle::dispose(const Napi::CallbackInfo&) {
  if (object_) object_->close();
  object_ = nullptr;
}

Napi::Function TensorHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Tensor",
      {StaticMethod<&TensorHandle::from>("from"), InstanceAccessor<&TensorHandle::shape>("shape"),
       InstanceAccessor<&TensorHandle::dtype>("dtype"),
       InstanceAccessor<&TensorHandle::is_disposed>("disposed"), InstanceMethod<&TensorHandle::data>("data"),
       InstanceMethod<&TensorHandle::dispose>("dispose")});
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

Napi::Array tensors_to_js(Napi::Env env, const std::shared_ptr<Context>& context,
                          const std::vector<Tensor>& tensors) {
  Napi::Array array = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    array[uint32_t(i)] = TensorHandle::wrap(env, context, tensors[i]);
  return array;
}

Tensor copy_tensor(const std::shared_ptr<Context>& context, const View& source) {
  Tensor tensor;
  tensor.view = source;
  tensor.view.dtype = context->real();
  tensor.buffer = Buffer::create(tensor.view.bytes(), context->counter());
  tensor.view.data = tensor.buffer->data();
  if (Device* device = context->device().get()) {
    std::vector<char> numbers(static_cast<size_t>(tensor.view.bytes()));
    View converted = tensor.view;
    converted.data = numbers.data();
    convert_numbers(source, converted);
    device->copy(tensor.view.data, numbers.data(), tensor.view.bytes());
  } else {
    convert_numbers(source, tensor.view);
  }
  return tensor;
}

Napi::Value TensorHandle::from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Context>& context =
        ContextHandle::Unwrap(info[0].As<Napi::Object>())->get("context");
    Napi::Object described = Napi::Object::New(info.Env());
    described.Set("data", info[1]);
    described.Set("shape", info[2]);
    const View source = view_of("Tensor.from", "data", described);
    return wrap(info.Env(), context, copy_tensor(context, source));
  });
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const View& view = get("tensor")->tensor.view;
    Napi::Array shape = Napi::Array::New(info.Env(), view.rank);
    for (int i = 0; i < view.rank; ++i)
      shape[uint32_t(i)] = Napi::Number::New(info.Env(), double(view.shape[i]));
    return shape;
  });
}
Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), dtype_name(get("tensor")->tensor.view.dtype));
  });
}
Napi::Value TensorHandle::is_disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), disposed());
}
Napi::Value TensorHandle::data(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<ContextTensor>& object = get("tensor");
    return read_view(info.Env(), object->context, object, object->tensor.view);
  });
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
