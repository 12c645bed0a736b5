#include "kernels.h"

#include <cstring>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/cpu.h"
#include "env.h"
#include "kernels/op_table.h"
#include "kernels/rates.h"
#include "views.h"

namespace hf::binding {
namespace {

// Lists the fields as data: what documentation, TypeScript types and the test harness are made from.
class Describer {
 public:
  explicit Describer(Napi::Env env) : env_(env), fields_(Napi::Array::New(env)) {}
  void in(const char* name, const View&, const char* dims, unsigned flags = 0) { tensor(name, "in", dims, flags); }
  void out(const char* name, const View&, const char* dims, unsigned flags = 0) { tensor(name, "out", dims, flags); }
  void inout(const char* name, const View&, const char* dims, unsigned flags = 0) { tensor(name, "inout", dims, flags); }
  void number(const char* name, double value) { add(name, "number").Set("default", value); }
  void integer(const char* name, int64_t value) { add(name, "integer").Set("default", double(value)); }
  void flag(const char* name, bool value) { add(name, "flag").Set("default", value); }
  template <class E>
  void choice(const char* name, E value, const char* const* names, int count) {
    Napi::Object field = add(name, "choice");
    Napi::Array choices = Napi::Array::New(env_, count);
    for (int i = 0; i < count; ++i) choices[static_cast<uint32_t>(i)] = Napi::String::New(env_, names[i]);
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
    field.Set("dtype", flags & kIndices ? "int32" : flags & kBytes ? "uint8" : flags & kDouble ? "float64" : "real");
  }
  Napi::Env env_;
  Napi::Array fields_;
};

// Fills an args struct from a JavaScript object.
class Reader {
 public:
  Reader(const char* op, Napi::Object object, DType real) : op_(op), object_(object), real_(real), dims_(op) {}
  void in(const char* name, View& view, const char* dims, unsigned = 0) { read(name, view, dims); }
  void out(const char* name, View& view, const char* dims, unsigned flags = 0) { output(name, view, dims, flags); }
  void inout(const char* name, View& view, const char* dims, unsigned flags = 0) { output(name, view, dims, flags); }
  void number(const char* name, double& value) {
    if (Napi::Value given = get(name); !given.IsUndefined()) value = number_of(name, given);
  }
  void integer(const char* name, int64_t& value) {
    Napi::Value given = get(name);
    if (given.IsUndefined()) return;
    const double number = number_of(name, given);
    value = static_cast<int64_t>(number);
    HF_CHECK(static_cast<double>(value) == number, ErrorCode::kInvalidArg, "%s: %s must be an integer, got %g", op_, name, number);
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
    const std::string text = given.IsString() ? given.As<Napi::String>().Utf8Value() : std::string("something that is not a string");
    std::string all;
    for (int i = 0; i < count; ++i) {
      if (text == names[i]) {
        value = static_cast<E>(i);
        return;
      }
      all += (i ? ", '" : "'") + std::string(names[i]) + "'";
    }
    fail(ErrorCode::kInvalidArg, "%s: %s must be one of %s, got '%s'", op_, name, all.c_str(), text.c_str());
  }
  // Unknown names would be silently ignored options.
  void finish() {
    Napi::Array names = object_.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); ++i) {
      const std::string name = names.Get(i).ToString().Utf8Value();
      bool known = false;
      for (const char* field : known_) known = known || name == field;
      HF_CHECK(known, ErrorCode::kInvalidArg, "%s: there is no argument '%s'", op_, name.c_str());
    }
    for (Pending& p : pending_) allocate(p);
  }
  Napi::Object results() const { return results_; }

 private:
  struct Pending { const char* name; View* view; const char* dims; unsigned flags; };

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
    view = view_of(op_, name, given);
    if (view.rank == DimTable::rank_of(dims)) dims_.bind(name, view, dims);
  }
  // Outputs may be left out: required ones, and optional ones asked for with `true`, are allocated when every dimension is
  // known from the inputs.
  void output(const char* name, View& view, const char* dims, unsigned flags) {
    if (results_.IsEmpty()) results_ = Napi::Object::New(object_.Env());
    Napi::Value given = get(name);
    const bool asked = given.IsBoolean() && given.As<Napi::Boolean>().Value();
    if (asked || (given.IsUndefined() && !(flags & kOptional))) {
      pending_.push_back({name, &view, dims, flags});
    } else if (!given.IsUndefined() && !given.IsNull() && !given.IsBoolean()) {
      view = view_of(op_, name, given);
      if (view.rank == DimTable::rank_of(dims)) dims_.bind(name, view, dims);
      results_.Set(name, given);
    }
  }
  void allocate(Pending& p) {
    int64_t shape[kMaxRank];
    int rank = 0;
    for (const char* c = p.dims; *c;) {
      int length = 0;
      while (c[length] && c[length] != ' ') ++length;
      shape[rank] = dims_.size_of(c, length);
      HF_CHECK(shape[rank] >= 0, ErrorCode::kInvalidArg, "%s: %s of shape (%s) is required: its size does not follow from the inputs", op_, p.name,
               p.dims);
      ++rank;
      c += length;
      while (*c == ' ') ++c;
    }
    const DType dtype = p.flags & kIndices ? DType::kI32 : p.flags & kBytes ? DType::kU8 : p.flags & kDouble ? DType::kF64 : real_;
    Napi::Object array = new_array(object_.Env(), dtype, shape, rank);
    *p.view = view_of(op_, p.name, array);
    results_.Set(p.name, array);
  }

  const char* op_;
  Napi::Object object_, results_;
  DType real_;
  DimTable dims_;
  std::vector<const char*> known_;
  std::vector<Pending> pending_;
};

Backend backend_of(const char* op, Napi::Object options) {
  Napi::Value given = options.Get("backend");
  if (given.IsUndefined()) return best_cpu_backend();
  const std::string name = given.IsString() ? given.As<Napi::String>().Utf8Value() : "";
  for (int i = 0; i < kBackendCount; ++i) {
    const Backend backend = static_cast<Backend>(i);
    if (name != backend_name(backend)) continue;
    HF_CHECK(cpu_supports(backend), ErrorCode::kBackendUnavailable, "%s: backend '%s' cannot run on this machine", op, name.c_str());
    return backend;
  }
  fail(ErrorCode::kInvalidArg, "%s: backend must be reference32, reference64, base, avx2, avx512 or cuda, got '%s'", op, name.c_str());
}

// From { backend?, threads? }.
Run run_of(const char* function, Napi::Value given) {
  Run run;
  run.backend = best_cpu_backend();
  if (given.IsObject()) {
    Napi::Object options = given.As<Napi::Object>();
    run.backend = backend_of(function, options);
    if (Napi::Value threads = options.Get("threads"); threads.IsNumber()) run.threads = std::max(1, threads.As<Napi::Number>().Int32Value());
  }
  return run;
}

// (args, { backend?, threads? }) → the outputs, or the scratch bytes that the call used.
template <class Args, bool kWorkspace>
Napi::Value call_sync(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    HF_CHECK(info[0].IsObject(), ErrorCode::kInvalidArg, "%s: an object with the arguments is required", Args::kName);
    thread_local Arena arena;
    Run run = run_of(Args::kName, info[1]);
    run.arena = &arena;
    arena.reset_peak();
    Args args;
    Reader reader(Args::kName, info[0].As<Napi::Object>(), run.real());
    Args::visit(args, reader);
    reader.finish();
    validate(args, run, /*check_overlap=*/true);
    struct Reset { Arena& arena; ~Reset() { arena.release(0); } } reset{arena};
    OpFn<Args> fn = op_row<Args>()[static_cast<int>(run.backend)];
    HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName, backend_name(run.backend));
    fn(args, run);
    if (kWorkspace) return Napi::Number::New(env, double(arena.peak_bytes()));
    return reader.results();
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
    const Cost c = cost(args);
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("flops", c.flops);
    result.Set("bytes", c.bytes);
    return result;
  });
}

// ({ backend?, threads?, footprint?, seconds? }) → { flops, bytes } per second.
Napi::Value call_rates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Run run = run_of("measureRates", info[0]);
    const auto option = [&](const char* name, double otherwise) {
      const Napi::Value given = info[0].IsObject() ? info[0].As<Napi::Object>().Get(name) : info.Env().Undefined();
      return given.IsNumber() ? given.As<Napi::Number>().DoubleValue() : otherwise;
    };
    const double footprint = option("footprint", 256e6);
    HF_CHECK(footprint >= 0 && footprint <= 1e12, ErrorCode::kInvalidArg, "measureRates: footprint must be a number of bytes, got %g", footprint);
    const Rates rates = measure_rates(run, int64_t(footprint), option("seconds", 0.5));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("flops", rates.flops);
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
      if (op_row<Args>()[i]) backends.Set(backends.Length(), Napi::String::New(env, backend_name(static_cast<Backend>(i))));
    entry.Set("backends", backends);
    entry.Set("runSync", Napi::Function::New<call_sync<Args, false>>(env, Args::kName));
    entry.Set("workspaceBytes", Napi::Function::New<call_sync<Args, true>>(env, "workspaceBytes"));
    entry.Set("cost", Napi::Function::New<call_cost<Args>>(env, "cost"));
    list.Set(list.Length(), entry);
  }
}

}  // namespace

void init_kernels(Napi::Env env, Napi::Object exports) {
  Napi::Array list = Napi::Array::New(env);
#define HF_OP(op, Forward, Backward, Jvp) add<Forward>(env, list, #op), add<Backward>(env, list, #op), add<Jvp>(env, list, #op);
#include "kernels/op_list.inc"
#undef HF_OP
  exports.Set("ops", list);
  exports.Set("measureRates", Napi::Function::New<call_rates>(env, "measureRates"));
}

}  // namespace hf::binding
