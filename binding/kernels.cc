#include "kernels.h"

#include <algorithm>
#include <string>
#include <vector>

#include "env.h"
#include "objects.h"
#include "op.h"
#include "op_arguments.h"
#include "op_description.h"
#include "op_memory.h"
#include "ops/rates.h"
#include "options.h"
#include "runtime/call_scratch.h"
#include "runtime/cpu.h"

namespace hf::binding {
namespace {

// Every function of an op carries it as its data.
const Op& op_of(const Napi::CallbackInfo& info) {
  return *static_cast<const Op*>(info.Data());
}

Backend backend_of(const char* function, Napi::Object options) {
  const Napi::Value given = options.Get("backend");
  if (given.IsUndefined()) return best_cpu_backend();
  const std::string name = given.IsString() ? given.As<Napi::String>().Utf8Value() : "";
  for (int i = 0; i < kBackendCount; ++i) {
    const Backend backend = static_cast<Backend>(i);
    if (name != backend_name(backend)) continue;
    const std::string why = backend == Backend::kCuda ? ": " + cuda_status().reason : "";
    HF_CHECK(backend_available(backend), ErrorCode::kBackendUnavailable,
             "%s: backend '%s' cannot run on this machine%s", function, name.c_str(), why.c_str());
    return backend;
  }
  fail(ErrorCode::kInvalidArg,
       "%s: backend must be reference32, reference64, base, avx2, avx512 or cuda, got '%s'", function,
       name.c_str());
}

// From { backend?, threads?, math? }.
Run run_of(const char* function, Napi::Value given) {
  Run run;
  run.backend = best_cpu_backend();
  if (!given.IsObject()) return run;
  const Napi::Object options = given.As<Napi::Object>();
  run.backend = backend_of(function, options);
  run.math = math_of(function, options.Get("math"));
  const Napi::Value threads = options.Get("threads");
  if (threads.IsNumber()) run.threads = std::max(1, threads.As<Napi::Number>().Int32Value());
  return run;
}

// A number among plain options, where it is given.
double number_among(Napi::Value options, const char* name, double otherwise) {
  if (!options.IsObject()) return otherwise;
  const Napi::Value given = options.As<Napi::Object>().Get(name);
  return given.IsNumber() ? given.As<Napi::Number>().DoubleValue() : otherwise;
}

// Fills `args` from the object `given`; the outputs by name.
Napi::Object read(OpArgs& args, Napi::Value given, DType real,
                  std::vector<Napi::TypedArray>* borrowed = nullptr) {
  const char* name = args.op().name;
  HF_CHECK(given.IsObject(), ErrorCode::kInvalidArg, "%s: an object with the arguments is required", name);
  ObjectReader reader(name, given.As<Napi::Object>(), real, borrowed);
  args.visit(reader);
  reader.finish();
  return reader.results();
}

// Returns the scratch bytes that the call used.
int64_t run_now(Napi::Env env, OpArgs& args, Run& run) {
  args.validate(run, /*check_overlap=*/true);
  const EnvData& data = EnvData::of(env);
  if (data.leased()) data.check_free(args.op().name, ranges_of(args));
  const CallScratch scratch(run);
  args.check_implemented(run.backend);
  args.call(run);
  if (run.device) run.device->synchronize();
  return scratch.peak_bytes();
}

// (args, { backend?, threads?, math? }) → the outputs.
Napi::Value run_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    OpArgs args(op_of(info));
    Run run = run_of(args.op().name, info[1]);
    const Napi::Object results = read(args, info[0], run.real());
    run_now(info.Env(), args, run);
    return results;
  });
}

// The same call → the scratch bytes that it used.
Napi::Value workspace_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    OpArgs args(op_of(info));
    Run run = run_of(args.op().name, info[1]);
    read(args, info[0], run.real());
    return Napi::Number::New(info.Env(), double(run_now(info.Env(), args, run)));
  });
}

// (frame, typed arrays …): the same call on one thread, packed by src/kernels/pack.ts. Plain C, without the
// wrapper's allocations.
napi_value run_packed(napi_env raw_env, napi_callback_info info) {
  constexpr size_t kMost = 40;
  napi_value arguments[kMost];
  size_t count = kMost;
  void* op;
  napi_get_cb_info(raw_env, info, &count, arguments, nullptr, &op);
  const Napi::Env env(raw_env);
  try {
    guarded(env, [&] {
      OpArgs args(*static_cast<const Op*>(op));
      const char* name = args.op().name;
      HF_CHECK(count >= 1 && count <= kMost, ErrorCode::kInvalidArg,
               "%s: a packed call starts with its frame", name);
      static const Backend best = best_cpu_backend();
      Run run;
      run.backend = best;
      FrameReader reader(name, env, frame_of(name, env, arguments[0]), arguments + 1, count - 1);
      args.visit(reader);
      run_now(env, args, run);
    });
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
  return nullptr;
}

// Holds what a pending call reads and writes: the outputs, and the typed arrays that they were given as.
std::shared_ptr<Lease> lease_of(OpArgs& args, Napi::Object results,
                                const std::vector<Napi::TypedArray>& arrays) {
  auto lease = std::make_shared<Lease>();
  lease->op = args.op().name;
  lease->ranges = ranges_of(args);
  Napi::Array kept = Napi::Array::New(results.Env());
  kept.Set(kept.Length(), results);
  for (const Napi::TypedArray& array : arrays)
    kept.Set(kept.Length(), array);
  lease->keep = Napi::Persistent(kept.As<Napi::Object>());
  return lease;
}

// (context, args, progress) → { promise of the outputs, cancel }. The typed arrays are used in place, on the
// context's thread.
Napi::Value run_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto args = std::make_shared<OpArgs>(op_of(info));
    const auto context = ContextHandle::of(info[0]);
    Run run;
    run.backend = context->backend();
    std::vector<Napi::TypedArray> arrays;
    const Napi::Object results = read(*args, info[1], run.real(), &arrays);
    args->validate(run, /*check_overlap=*/true);
    args->check_implemented(run.backend);

    const auto lease = lease_of(*args, results, arrays);
    EnvData& data = EnvData::of(info.Env());
    data.check_free(args->op().name, lease->ranges);
    // The lease outlives the conversion: settle() holds both.
    const Lease* held = lease.get();
    const Work work = [args, held](Run& run) -> Convert {
      run.one_op = true;
      args->call(run);
      return [held](Napi::Env) -> Napi::Value { return held->keep.Value().Get(uint32_t(0)); };
    };
    return data.submit(context, info[2], work, lease);
  });
}

// Device seconds of each of `most` calls, fewer if they would take more than max_seconds, but at least 3.
// Three calls before them, or 20 ms of short ones, warm up.
std::vector<double> measure(const OpArgs& args, double most, double max_seconds, Run& run) {
  const auto times = [&](double count) { return run.device->time(int(count), [&] { args.call(run); }); };
  const double once = std::max(times(3).back(), 1e-6);
  if (once < 5e-3) times(std::min(100.0, 20e-3 / once));
  const double affordable = std::max(3.0, max_seconds / once);
  return times(std::min(std::max(most, 1.0), affordable));
}

// (args, { math?, count?, maxSeconds? }) → { seconds: Float64Array, one for each call; workspaceBytes };
// operands are on the device. 20 calls unless `count` says how many.
Napi::Value device_times(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    OpArgs args(op_of(info));
    const char* name = args.op().name;
    Run run = run_of(name, info[1]);
    HF_CHECK(run.backend == Backend::kCuda, ErrorCode::kInvalidArg, "%s: deviceTimes needs backend 'cuda'",
             name);
    const double most = std::max(0.0, number_among(info[1], "count", 20));
    const double max_seconds = std::max(0.0, number_among(info[1], "maxSeconds", 1e9));
    read(args, info[0], run.real());
    args.validate(run, /*check_overlap=*/true);
    const CallScratch scratch(run);
    move_to_device(args, run);
    args.check_implemented(run.backend);
    const int64_t held = run.device_arena->mark();
    run.device_arena->reset_peak();
    const std::vector<double> seconds = measure(args, most, max_seconds, run);
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("seconds", doubles_to_js(info.Env(), seconds));
    result.Set("workspaceBytes", double(run.device_arena->peak_bytes() - held));
    return result;
  });
}

// (args) → { flops, bytes } of that call.
Napi::Value cost(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    OpArgs args(op_of(info));
    read(args, info[0], DType::kF32);
    Run any;  // where every type is taken
    any.backend = Backend::kCuda;
    any.math = Math::kBf16;
    args.validate(any, /*check_overlap=*/false);
    const Cost cost = args.cost();
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("flops", cost.flops);
    result.Set("bytes", cost.bytes);
    return result;
  });
}

// ({ backend?, threads?, footprint?, seconds? }) → { flops, bf16Flops, bytes } per second.
Napi::Value rates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Run run = run_of("measureRates", info[0]);
    const double footprint = number_among(info[0], "footprint", 256e6);
    HF_CHECK(footprint >= 0 && footprint <= 1e12, ErrorCode::kInvalidArg,
             "measureRates: footprint must be a number of bytes, got %g", footprint);
    const Rates rates = measure_rates(run, int64_t(footprint), number_among(info[0], "seconds", 0.5));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("flops", rates.flops);
    result.Set("bf16Flops", rates.bf16_flops);
    result.Set("bytes", rates.bytes);
    return result;
  });
}

// NativeOp of src/core/addon/contract.
Napi::Object op_to_js(Napi::Env env, const Op& op) {
  void* data = const_cast<Op*>(&op);
  napi_value packed;
  NAPI_THROW_IF_FAILED(env, napi_create_function(env, op.name, NAPI_AUTO_LENGTH, run_packed, data, &packed),
                       Napi::Object());
  Napi::Object entry = describe_op(env, op);
  entry.Set("runSync", Napi::Function::New<run_sync>(env, op.name, data));
  entry.Set("workspaceBytes", Napi::Function::New<workspace_bytes>(env, "workspaceBytes", data));
  entry.Set("deviceTimes", Napi::Function::New<device_times>(env, "deviceTimes", data));
  entry.Set("run", Napi::Function::New<run_async>(env, op.name, data));
  entry.Set("runPacked", packed);
  entry.Set("cost", Napi::Function::New<cost>(env, "cost", data));
  return entry;
}

}  // namespace

void init_kernels(Napi::Env env, Napi::Object exports) {
  Napi::Array ops = Napi::Array::New(env);
  for (const Op& op : all_ops())
    ops.Set(ops.Length(), op_to_js(env, op));
  exports.Set("ops", ops);
  exports.Set("measureRates", Napi::Function::New<rates>(env, "measureRates"));
}

}  // namespace hf::binding
