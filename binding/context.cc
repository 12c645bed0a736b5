#include <algorithm>

#include "env.h"
#include "objects.h"
#include "ops/op_table.h"
#include "runtime/cpu.h"

namespace hf::binding {
namespace {

Backend backend_of(Napi::Value given) {
  if (!given.IsString()) return best_cpu_backend();
  const std::string name = given.As<Napi::String>();
  for (int i = 0; i < kBackendCount; ++i)
    if (name == backend_name(static_cast<Backend>(i))) return static_cast<Backend>(i);
  fail(ErrorCode::kInvalidArg, "Context: there is no backend '%s'", name.c_str());
}

int integer_or(Napi::Value given, int otherwise) {
  return given.IsNumber() ? given.As<Napi::Number>().Int32Value() : otherwise;
}

}  // namespace

Math math_of(const char* function, Napi::Value value) {
  if (value.IsUndefined()) return Math::kExact;
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  HF_CHECK(name == "fp32" || name == "tf32" || name == "bf16", ErrorCode::kInvalidArg,
           "%s: math must be fp32, tf32 or bf16, got '%s'", function, name.c_str());
  if (name == "tf32") return Math::kTf32;
  return name == "bf16" ? Math::kBf16 : Math::kExact;
}

Napi::Function ContextHandle::define(Napi::Env env) {
  using C = ContextHandle;
  return DefineClass(env, "Context",
                     {
                         InstanceAccessor<&C::checked<&C::backend>>("backend"),
                         InstanceAccessor<&C::checked<&C::threads>>("threads"),
                         InstanceMethod<&C::checked<&C::memory>>("memory"),
                         InstanceMethod<&C::dispose>("dispose"),
                     });
}

// new Context({ backend?, threads?, deviceIndex?, math? })
ContextHandle::ContextHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ContextHandle>(info) {
  guarded(info.Env(), [&] {
    const Napi::Object options =
        info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(info.Env());
    const Backend backend = backend_of(options.Get("backend"));
    std::shared_ptr<Device> device =
        backend == Backend::kCuda ? open_cuda(integer_or(options.Get("deviceIndex"), kFirstUsable)) : nullptr;
    HF_CHECK(backend_available(backend), ErrorCode::kBackendUnavailable,
             "Context: this machine cannot run backend '%s'", backend_name(backend));
    const int threads = std::max(1, integer_or(options.Get("threads"), available_threads()));
    const Math math = math_of("Context", options.Get("math"));
    object_ = std::make_shared<Context>(backend, threads, math, std::move(device));
    EnvData::of(info.Env()).add(object_);
  });
}

// A context that is not disposed is let go of by the collector; its thread ends once its jobs are done.
void ContextHandle::Finalize(Napi::Env) {
  if (object_) object_->close();
}

Napi::Value ContextHandle::backend(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), backend_name(get("context")->backend()));
}

Napi::Value ContextHandle::threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), get("context")->threads());
}

Napi::Value ContextHandle::memory(const Napi::CallbackInfo& info) {
  Context& context = *get("context");
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("tensors", double(context.counter()->buffers.load()));
  result.Set("tensorBytes", double(context.counter()->bytes.load()));
  result.Set("arenaBytes", double(context.arena_bytes()));
  result.Set("arenaPeakBytes", double(context.take_arena_peak()));
  return result;
}

void ContextHandle::dispose(const Napi::CallbackInfo&) {
  if (object_) object_->close();
  object_ = nullptr;
}

}  // namespace hf::binding
