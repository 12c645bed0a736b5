#include "kernels.h"

#include <cstring>
#include <string>
#include <vector>

#include "env.h"
#include "objects.h"
#include "ops/op_table.h"
#include "ops/rates.h"
#include "options.h"
#include "runtime/call_scratch.h"
#include "runtime/cpu.h"
#include "views.h"

namespace hf::binding {
namespace {

// Lists the fields as data: what documentation, TypeScript types and the test harness are made from.
class Describer {
 public:
  explicit Describer(Napi::Env env) : env_(env), fields_(Napi::Array::New(env)) {}
  void in(const char* name, const View&, const char* dims, unsigned flags = 0) {
    tensor(name, "in", dims, flags);
  }
  void out(const char* name, const View&, const char* dims, unsigned flags = 0) {
    tensor(name, "out", dims, flags);
  }
  void inout(const char* name, const View&, const char* dims, unsigned flags = 0) {
    tensor(name, "inout", dims, flags);
  }
  void number(const char* name, double value) { add(name, "number").Set("default", value); }
  void integer(const char* name, int64_t value) { add(name, "integer").Set("default", double(value)); }
  void flag(const char* name, bool value) { add(name, "flag").Set("default", value); }
  template <class E>
  void choice(const char* name, E value, const char* const* names, int count) {
    Napi::Object field = add(name, "choice");
    Napi::Array choices = Napi::Array::New(env_, count);
    for (int i = 0; i < count; ++i)
      choices[static_cast<uint32_t>(i)] = Napi::String::New(env_, names[i]);
    field.Set("choices", choices);
    field.Set("default", names[static_cast<int>(value)]);
  }
  Napi::Array fields() const { return fields_; }

 private:
  Napi::Object add(const char* name, const char* kind) {
    Napi::Object field = Napi::Object::New(env_);
    field.Set("name", name);
    field.Set("kind", kind);
    fields_.Set(fields_.Length(), field);
    return field;
  }
  void tensor(const char* name, const char* role, const char* dims, unsigned flags) {
    Napi::Object field = add(name, role);
    field.Set("dims", dims);
    field.Set("optional", (flags & kOptional) != 0);
    field.Set("strided", (flags & kStrided) != 0);
    field.Set("bfloat16", (flags & kBf16) != 0);
    field.Set("dtype", flags & kIndices  ? "int32"
                       : flags & kBytes  ? "uint8"
                       : flags & kDouble ? "float64"
                                         : "real");
  }
  Napi::Env env_;
  Napi::Array fields_;
};

// Fills an args struct from a JavaScript object.
class Reader {
 public:
  // `borrowed`, if given, collects the typed arrays that the views point into, for a call that outlives this
  // function.
  Reader(const char* op, Napi::Object object, DType real, std::vector<Napi::TypedArray>* borrowed = nullptr)
      : op_(op), object_(object), real_(real), dims_(op), borrowed_(borrowed) {}
  void in(const char* name, View& view, const char* dims, unsigned flags = 0) {
    read(name, view, dims);
    sound_ = sound_ && (view ? view.rank == DimTable::rank_of(dims) : (flags & kOptional) != 0);
  }
  void out(const char* name, View& view, const char* dims, unsigned flags = 0) {
    output(name, view, dims, flags);
  }
  void inout(const char* name, View& view, const char* dims, unsigned flags = 0) {
    output(name, view, dims, flags);
  }
  void number(const char* name, double& value) {
    if (Napi::Value given = get(name); !given.IsUndefined()) value = number_of(name, given);
  }
  void integer(const char* name, int64_t& value) {
    Napi::Value given = get(name);
    if (given.IsUndefined()) return;
    const double number = number_of(name, given);
    value = static_cast<int64_t>(number);
    HF_CHECK(static_cast<double>(value) == number, ErrorCode::kInvalidArg,
             "%s: %s must be an integer, got %g", op_, name, number);
  }
  void flag(const char* name, bool& value) {
    Napi::Value given = get(name);
    if (given.IsUndefined()) return;
    HF_CHECK(given.IsBoolean(), ErrorCode::kInvalidArg, "%s: %s must be true or false", op_, name);
    value = given.As<Napi::Boolean>().Value();
  }
  template <class E>
  void choice(const char* name, E& value, const char* const* names, int count) {
    Napi::Value given = get(name);
    if (given.IsUndefined()) return;
    value = choice_of<E>(op_, name,
                         given.IsString() ? given.As<Napi::String>().Utf8Value()
                                          : std::string("something that is not a string"),
                         names, count);
  }
  // Unknown names would be silently ignored options.
  void finish() {
    Napi::Array names = object_.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); ++i) {
      const std::string name = names.Get(i).ToString().Utf8Value();
      bool known = false;
      for (const char* field : known_)
        known = known || name == field;
      HF_CHECK(known, ErrorCode::kInvalidArg, "%s: there is no argument '%s'", op_, name.c_str());
    }
    for (Pending& p : pending_)
      allocate(p);
  }
  Napi::Object results() const { return results_; }

 private:
  struct Pending {
    const char* name;
    View* view;
    const char* dims;
    unsigned flags;
  };

  Napi::Value get(const char* name) {
    known_.push_back(name);
    return object_.Get(name);
  }
  double number_of(const char* name, Napi::Value given) {
    HF_CHECK(given.IsNumber(), ErrorCode::kInvalidArg, "%s: %s must be a number", op_, name);
    return given.As<Napi::Number>().DoubleValue();
  }
  void read(const char* name, View& view, const char* dims) {
    Napi::Value given = get(name);
    if (given.IsUndefined() || given.IsNull()) return;
    view = borrow(name, given);
    if (view.rank == DimTable::rank_of(dims)) dims_.bind(name, view, dims);
  }
  View borrow(const char* name, Napi::Value given) {
    Napi::TypedArray array;
    const View view = view_of(op_, name, given, &array);
    if (!borrowed_) return view;
    HF_CHECK(
        !array.ArrayBuffer().Get("resizable").ToBoolean(), ErrorCode::kInvalidArg,
        "%s: %s lies in a resizable ArrayBuffer, which could shrink while the job runs; copy it into a plain one",
        op_, name);
    borrowed_->push_back(array);
    return view;
  }
  // Outputs may be left out: required ones, and optional ones asked for with `true`, are allocated when every
  // dimension is known from the inputs.
  void output(const char* name, View& view, const char* dims, unsigned flags) {
    if (results_.IsEmpty()) results_ = Napi::Object::New(object_.Env());
    Napi::Value given = get(name);
    const bool asked = given.IsBoolean() && given.As<Napi::Boolean>().Value();
    if (asked || (given.IsUndefined() && !(flags & kOptional))) {
      pending_.push_back({name, &view, dims, flags});
    } else if (!given.IsUndefined() && !given.IsNull() && !given.IsBoolean()) {
      view = borrow(name, given);
      if (view.rank == DimTable::rank_of(dims)) dims_.bind(name, view, dims);
      results_.Set(name, given);
    }
  }
  void allocate(Pending& p) {
    int64_t shape[kMaxRank];
    int rank = 0;
    for (const char* c = p.dims; *c;) {
      int length = 0;
      while (c[length] && c[length] != ' ')
        ++length;
      shape[rank] = dims_.size_of(c, length);
      if (shape[rank] < 0 && !sound_) return;  // validate() says what is wrong with the input
      HF_CHECK(shape[rank] >= 0, ErrorCode::kInvalidArg,
               "%s: %s of shape (%s) is required: its size does not follow from the inputs", op_, p.name,
               p.dims);
      ++rank;
      c += length;
      while (*c == ' ')
        ++c;
    }
    const DType dtype = p.flags & kIndices  ? DType::kI32
                        : p.flags & kBytes  ? DType::kU8
                        : p.flags & kDouble ? DType::kF64
                                            : real_;
    Napi::Object array = new_array(object_.Env(), dtype, shape, rank);
    *p.view = borrow(p.name, array);
    results_.Set(p.name, array);
  }

  const char* op_;
  Napi::Object object_, results_;
  DType real_;
  DimTable dims_;
  std::vector<const char*> known_;
  std::vector<Pending> pending_;
  bool sound_ = true;  // required inputs are there, with the rank that they must have
  std::vector<Napi::TypedArray>* borrowed_;
};

// Fills an args struct from a packed call (src/kernels/pack.ts): numbers in one Float64Array, in the order of
// the field list, and typed arrays as arguments of the call. Reading properties through Node-API costs more
// than a small kernel; JavaScript reads its own objects cheaply.
//   a tensor: rank (0 = absent), which argument, offset, shape[4], stride[4]        a scalar: its value; a choice: its index
class FrameReader {
 public:
  FrameReader(const char* op, Napi::Env env, const double* frame, const napi_value* arrays, size_t count)
      : op_(op), env_(env), frame_(frame), arrays_(arrays), count_(count) {}
  void in(const char* name, View& view, const char*, unsigned = 0) { tensor(name, view); }
  void out(const char* name, View& view, const char*, unsigned = 0) { tensor(name, view); }
  void inout(const char* name, View& view, const char*, unsigned = 0) { tensor(name, view); }
  void number(const char*, double& value) { value = *frame_++; }
  void integer(const char*, int64_t& value) { value = static_cast<int64_t>(*frame_++); }
  void flag(const char*, bool& value) { value = *frame_++ != 0; }
  template <class E>
  void choice(const char*, E& value, const char* const*, int) {
    value = static_cast<E>(static_cast<int>(*frame_++));
  }

 private:
  void tensor(const char* name, View& view) {
    const double* f = frame_;
    frame_ += kFrameTensor;
    view.rank = static_cast<int32_t>(f[0]);
    if (view.rank == 0) return;
    napi_typedarray_type type;
    size_t length;
    void* data;
    napi_value buffer;
    bool plain = false;
    const size_t which = static_cast<size_t>(f[1]);
    HF_CHECK(which < count_ &&
                 napi_get_typedarray_info(env_, arrays_[which], &type, &length, &data, &buffer, nullptr) ==
                     napi_ok &&
                 napi_is_arraybuffer(env_, buffer, &plain) == napi_ok && plain,
             ErrorCode::kInvalidArg, "%s: %s must be a typed array in an ArrayBuffer", op_, name);
    view.dtype = dtype_of(op_, name, type);
    int64_t elements = 1;
    for (int i = 0; i < view.rank; ++i) {
      view.shape[i] = static_cast<int64_t>(f[3 + i]), view.stride[i] = static_cast<int64_t>(f[7 + i]);
      HF_CHECK(!__builtin_mul_overflow(elements, view.shape[i], &elements), ErrorCode::kShape,
               "%s: %s.shape is too large", op_, name);
    }
    static char nothing[64];  // an empty array has no address, but a view needs one
    view.data =
        length ? static_cast<char*>(data) + static_cast<int64_t>(f[2]) * dtype_bytes(view.dtype) : nothing;
    check_extent(op_, name, view, static_cast<int64_t>(f[2]), static_cast<int64_t>(length));
  }

  static constexpr int kFrameTensor = 11;
  const char* op_;
  Napi::Env env_;
  const double* frame_;
  const napi_value* arrays_;
  size_t count_;
};

// What of the caller's memory a call touches.
class Ranges {
 public:
  explicit Ranges(std::vector<Lease::Range>& ranges) : ranges_(ranges) {}
  void in(const char* name, const View& view, const char*, unsigned = 0) { tensor(name, view, false); }
  void out(const char* name, const View& view, const char*, unsigned = 0) { tensor(name, view, true); }
  void inout(const char* name, const View& view, const char*, unsigned = 0) { tensor(name, view, true); }
  void number(const char*, double) {}
  void integer(const char*, int64_t) {}
  void flag(const char*, bool) {}
  template <class E>
  void choice(const char*, E, const char* const*, int) {}

 private:
  void tensor(const char* name, const View& view, bool write) {
    if (!view || view.size() == 0) return;
    int64_t last = 0;
    for (int i = 0; i < view.rank; ++i)
      last += (view.shape[i] - 1) * view.stride[i];
    const char* begin = static_cast<const char*>(view.data);
    ranges_.push_back({name, begin, begin + (last + 1) * dtype_bytes(view.dtype), write});
  }
  std::vector<Lease::Range>& ranges_;
};

Backend backend_of(const char* op, Napi::Object options) {
  Napi::Value given = options.Get("backend");
  if (given.IsUndefined()) return best_cpu_backend();
  const std::string name = given.IsString() ? given.As<Napi::String>().Utf8Value() : "";
  for (int i = 0; i < kBackendCount; ++i) {
    const Backend backend = static_cast<Backend>(i);
    if (name != backend_name(backend)) continue;
    HF_CHECK(backend_available(backend), ErrorCode::kBackendUnavailable,
             "%s: backend '%s' cannot run on this machine%s%s", op, name.c_str(),
             backend == Backend::kCuda ? ": " : "",
             backend == Backend::kCuda ? cuda_status().reason.c_str() : "");
    return backend;
  }
  fail(ErrorCode::kInvalidArg,
       "%s: backend must be reference32, reference64, base, avx2, avx512 or cuda, got '%s'", op,
       name.c_str());
}

// From { backend?, threads?, math? }.
Run run_of(const char* function, Napi::Value given) {
  Run run;
  run.backend = best_cpu_backend();
  if (given.IsObject()) {
    Napi::Object options = given.As<Napi::Object>();
    run.backend = backend_of(function, options);
    run.math = math_of(function, options.Get("math"));
    if (Napi::Value threads = options.Get("threads"); threads.IsNumber())
      run.threads = std::max(1, threads.As<Napi::Number>().Int32Value());
  }
  return run;
}

// Returns the scratch bytes that the call used.
template <class Args>
int64_t run_now(Napi::Env env, const Args& args, Run& run) {
  validate(args, run, /*check_overlap=*/true);
  if (const EnvData& data = EnvData::of(env); data.leased()) {
    std::vector<Lease::Range> ranges;
    Ranges collector(ranges);
    Args::visit(args, collector);
    data.check_free(Args::kName, ranges);
  }
  const CallScratch scratch(run);
  OpFn<Args> fn = op_row<Args>()[static_cast<int>(run.backend)];
  HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName,
           backend_name(run.backend));
  fn(args, run);
  if (run.device) run.device->synchronize();
  return scratch.peak_bytes();
}

// (args, { backend?, threads? }) → the outputs, or the scratch bytes that the call used.
template <class Args, bool kWorkspace>
Napi::Value call_sync(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    HF_CHECK(info[0].IsObject(), ErrorCode::kInvalidArg, "%s: an object with the arguments is required",
             Args::kName);
    Run run = run_of(Args::kName, info[1]);
    Args args;
    Reader reader(Args::kName, info[0].As<Napi::Object>(), run.real());
    Args::visit(args, reader);
    reader.finish();
    const int64_t bytes = run_now(env, args, run);
    if (kWorkspace) return Napi::Number::New(env, double(bytes));
    return reader.results();
  });
}

// (frame, typed arrays …): the same call, packed by src/kernels/pack.ts. Plain C, without the wrapper's
// allocations.
template <class Args>
napi_value call_packed(napi_env raw_env, napi_callback_info info) {
  constexpr size_t kMost = 40;
  napi_value arguments[kMost];
  size_t count = kMost;
  napi_get_cb_info(raw_env, info, &count, arguments, nullptr, nullptr);
  Napi::Env env(raw_env);
  try {
    guarded(env, [&] {
      napi_typedarray_type type;
      size_t length;
      void* frame;
      HF_CHECK(count >= 1 && count <= kMost &&
                   napi_get_typedarray_info(env, arguments[0], &type, &length, &frame, nullptr, nullptr) ==
                       napi_ok &&
                   type == napi_float64_array,
               ErrorCode::kInvalidArg, "%s: a packed call starts with its frame", Args::kName);
      static const Backend best = best_cpu_backend();
      Run run;
      run.backend = best;
      Args args;
      FrameReader reader(Args::kName, env, static_cast<const double*>(frame), arguments + 1, count - 1);
      Args::visit(args, reader);
      run_now(env, args, run);
    });
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
  return nullptr;
}

// (context, args, progress) → { promise of the outputs, cancel }. The typed arrays are used in place, on the
// context's thread.
template <class Args>
Napi::Value call_async(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    HF_CHECK(info[1].IsObject(), ErrorCode::kInvalidArg, "%s: an object with the arguments is required",
             Args::kName);
    const std::shared_ptr<Context>& context =
        ContextHandle::Unwrap(info[0].As<Napi::Object>())->get("context");
    Run run;
    run.backend = context->backend();
    Args args;
    std::vector<Napi::TypedArray> arrays;
    Reader reader(Args::kName, info[1].As<Napi::Object>(), run.real(), &arrays);
    Args::visit(args, reader);
    reader.finish();
    validate(args, run, /*check_overlap=*/true);
    OpFn<Args> fn = op_row<Args>()[static_cast<int>(run.backend)];
    HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName,
             backend_name(run.backend));

    auto lease = std::make_shared<Lease>();
    lease->op = Args::kName;
    Ranges collector(lease->ranges);
    Args::visit(args, collector);
    EnvData& data = EnvData::of(env);
    data.check_free(Args::kName, lease->ranges);
    Napi::Array kept = Napi::Array::New(env, arrays.size() + 1);
    kept[uint32_t(0)] = reader.results();
    for (size_t i = 0; i < arrays.size(); ++i)
      kept[uint32_t(i + 1)] = arrays[i];
    lease->keep = Napi::Persistent(kept.As<Napi::Object>());
    // The lease outlives the conversion: settle() holds both.
    const Lease* held = lease.get();
    return data.submit(context, info[2], [args, fn, held](Run& run) -> Convert {
      run.one_op = true;
      fn(args, run);
      return [held](Napi::Env) -> Napi::Value { return held->keep.Value().Get(uint32_t(0)); };
    }, lease);
  });
}

// Copies everything but indices to the device, so that a timing has no transfers in it.
class DeviceArgs {
 public:
  explicit DeviceArgs(Run& run) : run_(run) {}
  void in(const char*, View& view, const char*, unsigned flags = 0) { tensor(view, flags); }
  void out(const char*, View& view, const char*, unsigned flags = 0) { tensor(view, flags); }
  void inout(const char*, View& view, const char*, unsigned flags = 0) { tensor(view, flags); }
  void number(const char*, double) {}
  void integer(const char*, int64_t) {}
  void flag(const char*, bool) {}
  template <class E>
  void choice(const char*, E, const char* const*, int) {}

 private:
  void tensor(View& view, unsigned flags) {
    if (!view || view.size() == 0 || (flags & kIndices)) return;
    int64_t last = 0;
    for (int i = 0; i < view.rank; ++i)
      last += (view.shape[i] - 1) * view.stride[i];
    view.data = on_device(run_, make_view(view.data, view.dtype, last + 1)).data;
  }
  Run& run_;
};

// (args, { math?, count?, maxSeconds? }) → { seconds: Float64Array, one for each call; workspaceBytes };
// operands are on the device. `count` calls (20), fewer if they would take more than maxSeconds, but at least
// 3; three calls before them, or 20 ms of short ones, warm up.
template <class Args>
Napi::Value call_times(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Run run = run_of(Args::kName, info[1]);
    HF_CHECK(run.backend == Backend::kCuda, ErrorCode::kInvalidArg, "%s: deviceTimes needs backend 'cuda'",
             Args::kName);
    const auto option = [&](const char* name, double otherwise) {
      const Napi::Value given = info[1].As<Napi::Object>().Get(name);
      return given.IsNumber() ? std::max(0.0, given.As<Napi::Number>().DoubleValue()) : otherwise;
    };
    const double most = option("count", 20), max_seconds = option("maxSeconds", 1e9);
    Args args;
    Reader reader(Args::kName, info[0].As<Napi::Object>(), run.real());
    Args::visit(args, reader);
    reader.finish();
    validate(args, run, /*check_overlap=*/true);
    const CallScratch scratch(run);
    DeviceArgs copier(run);
    Args::visit(args, copier);
    OpFn<Args> fn = op_row<Args>()[static_cast<int>(run.backend)];
    HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName,
             backend_name(run.backend));
    const int64_t held = run.device_arena->mark();
    run.device_arena->reset_peak();
    const auto times = [&](double count) { return run.device->time(int(count), [&] { fn(args, run); }); };
    const double once = std::max(times(3).back(), 1e-6);
    if (once < 5e-3) times(std::min(100.0, 20e-3 / once));
    const std::vector<double> seconds =
        times(std::min(std::max(most, 1.0), std::max(3.0, max_seconds / once)));
    Napi::Object result = Napi::Object::New(env);
    result.Set("seconds", typed_array(env, DType::kF64, seconds.data(), int64_t(seconds.size())));
    result.Set("workspaceBytes", double(run.device_arena->peak_bytes() - held));
    return result;
  });
}

// (args) → { flops, bytes } of that call.
template <class Args>
Napi::Value call_cost(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Args args;
    Reader reader(Args::kName, info[0].As<Napi::Object>(), DType::kF32);
    Args::visit(args, reader);
    reader.finish();
    Run any;  // where every type is taken
    any.backend = Backend::kCuda, any.math = Math::kBf16;
    validate(args, any, /*check_overlap=*/false);
    const Cost c = cost(args);
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("flops", c.flops);
    result.Set("bytes", c.bytes);
    return result;
  });
}

// ({ backend?, threads?, footprint?, seconds? }) → { flops, bf16Flops, bytes } per second.
Napi::Value call_rates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Run run = run_of("measureRates", info[0]);
    const auto option = [&](const char* name, double otherwise) {
      const Napi::Value given =
          info[0].IsObject() ? info[0].As<Napi::Object>().Get(name) : info.Env().Undefined();
      return given.IsNumber() ? given.As<Napi::Number>().DoubleValue() : otherwise;
    };
    const double footprint = option("footprint", 256e6);
    HF_CHECK(footprint >= 0 && footprint <= 1e12, ErrorCode::kInvalidArg,
             "measureRates: footprint must be a number of bytes, got %g", footprint);
    const Rates rates = measure_rates(run, int64_t(footprint), option("seconds", 0.5));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("flops", rates.flops);
    result.Set("bf16Flops", rates.bf16_flops);
    result.Set("bytes", rates.bytes);
    return result;
  });
}

template <class Args>
void add(Napi::Env env, Napi::Array list, const char* op) {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    Args defaults;
    Describer describer(env);
    Args::visit(defaults, describer);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("op", op);
    entry.Set("name", Args::kName);
    entry.Set("fields", describer.fields());
    Napi::Array backends = Napi::Array::New(env);
    for (int i = 0; i < kBackendCount; ++i)
      if (op_row<Args>()[i])
        backends.Set(backends.Length(), Napi::String::New(env, backend_name(static_cast<Backend>(i))));
    entry.Set("backends", backends);
    entry.Set("runSync", Napi::Function::New<call_sync<Args, false>>(env, Args::kName));
    entry.Set("workspaceBytes", Napi::Function::New<call_sync<Args, true>>(env, "workspaceBytes"));
    entry.Set("deviceTimes", Napi::Function::New<call_times<Args>>(env, "deviceTimes"));
    entry.Set("run", Napi::Function::New<call_async<Args>>(env, Args::kName));
    napi_value packed;
    NAPI_THROW_IF_FAILED_VOID(
        env, napi_create_function(env, Args::kName, NAPI_AUTO_LENGTH, call_packed<Args>, nullptr, &packed));
    entry.Set("runPacked", packed);
    entry.Set("cost", Napi::Function::New<call_cost<Args>>(env, "cost"));
    list.Set(list.Length(), entry);
  }
}

}  // namespace

void init_kernels(Napi::Env env, Napi::Object exports) {
  Napi::Array list = Napi::Array::New(env);
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>(env, list, #op), add<Backward>(env, list, #op), add<Jvp>(env, list, #op);
#include "ops/op_list.inc"
#undef HF_OP
  exports.Set("ops", list);
  exports.Set("measureRates", Napi::Function::New<call_rates>(env, "measureRates"));
}

}  // namespace hf::binding
