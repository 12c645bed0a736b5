// The addon's entry point.
#include <napi.h>

#include "env.h"
#include "kernels.h"
#include "objects.h"
#include "ops/op_table.h"
#include "policy.h"
#include "runtime/cpu.h"

namespace hf::binding {
namespace {

Napi::Object cpu_info(Napi::Env env) {
  Napi::Object cpu = Napi::Object::New(env);
  Napi::Array backends = Napi::Array::New(env);
  for (Backend backend : {Backend::kCpuBase, Backend::kCpuAvx2, Backend::kCpuAvx512})
    if (backend_available(backend))
      backends.Set(backends.Length(), Napi::String::New(env, backend_name(backend)));
  cpu.Set("backends", backends);
  cpu.Set("best", backend_name(best_cpu_backend()));
  cpu.Set("threads", available_threads());
  cpu.Set("bf16Dot", best_cpu_backend() == Backend::kCpuAvx512 && has_bf16_dot());
  cpu.Set("blas", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), blas_status());
  }, "blas"));
  return cpu;
}

Napi::Object cuda_info(Napi::Env env) {
  const CudaStatus& status = cuda_status();
  Napi::Object cuda = Napi::Object::New(env);
  cuda.Set("built", status.built);
  cuda.Set("architectures", status.architectures);
  cuda.Set("reason", status.reason);
  Napi::Array devices = Napi::Array::New(env);
  for (const CudaDevice& d : status.devices) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("name", d.name);
    device.Set("computeCapability", std::to_string(d.major) + "." + std::to_string(d.minor));
    device.Set("bytes", double(d.bytes));
    if (!d.problem.empty()) device.Set("problem", d.problem);
    devices.Set(devices.Length(), device);
  }
  cuda.Set("devices", devices);
  cuda.Set("cublas", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), cublas_status());
  }, "cublas"));
  return cuda;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  return guarded(env, [&] {
    register_all();
    auto* data = new EnvData(env);
    env.SetInstanceData(data);
    init_kernels(env, exports);
    init_policy(env, exports);
    exports.Set("version", HEADFIRST_VERSION);
    exports.Set("cpu", cpu_info(env));
    exports.Set("cuda", cuda_info(env));
    exports.Set("Context", ContextHandle::define(env));
    const Napi::Function tensor = TensorHandle::define(env);
    const Napi::Function model = ModelHandle::define(env);
    data->tensor = Napi::Persistent(tensor);
    data->model = Napi::Persistent(model);
    exports.Set("Tensor", tensor);
    exports.Set("Model", model);
    exports.Set("Optimizer", OptimizerHandle::define(env));
    return exports;
  });
}

}  // namespace
}  // namespace hf::binding

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  return hf::binding::init(env, exports);
}
NODE_API_MODULE(headfirst, init)
