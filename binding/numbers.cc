// Numbers between JavaScript and views.
#include <cstring>

#include "env.h"
#include "model/load.h"
#include "objects.h"
#include "options.h"
#include "views.h"

namespace hf::binding {
namespace {

template <class From, class To>
void convert(const void* from, void* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    static_cast<To*>(to)[i] = static_cast<To>(static_cast<const From*>(from)[i]);
}

template <class To>
void convert_from(const View& src, void* to, int64_t count) {
  switch (src.dtype) {
    case DType::kF32: return convert<float, To>(src.data, to, count);
    case DType::kF64: return convert<double, To>(src.data, to, count);
    case DType::kI32: return convert<int32_t, To>(src.data, to, count);
    default: fail(ErrorCode::kDtype, "numbers must be a Float32Array, Float64Array or Int32Array");
  }
}

}  // namespace

void convert_numbers(const View& src, const View& dst) {
  const int64_t count = dst.size();
  if (src.dtype == dst.dtype) {
    std::memcpy(dst.data, src.data, static_cast<size_t>(dst.bytes()));
  } else if (dst.dtype == DType::kF64) {
    convert_from<double>(src, dst.data, count);
  } else if (dst.dtype == DType::kF32) {
    convert_from<float>(src, dst.data, count);
  } else {
    fail(ErrorCode::kDtype, "these numbers must be an Int32Array");
  }
}

std::vector<char> copy_numbers(const char* function, const char* name, Napi::Value value, DType dtype,
                               int64_t expected) {
  const View view = view_of(function, name, value);
  HF_CHECK(view.contiguous(), ErrorCode::kShape, "%s: %s must be contiguous", function, name);
  HF_CHECK(expected < 0 || view.size() == expected, ErrorCode::kShape,
           "%s: %s must have %lld entries, got %lld", function, name, static_cast<long long>(expected),
           static_cast<long long>(view.size()));
  std::vector<char> out(static_cast<size_t>(view.size() * dtype_bytes(dtype)));
  convert_numbers(view, make_view(out.data(), dtype, view.size()));
  return out;
}

Napi::Value typed_array(Napi::Env env, DType dtype, const void* data, int64_t count) {
  const int64_t shape[] = {count};
  Napi::Object array = new_array(env, dtype, shape, 1).Get("data").As<Napi::Object>();
  if (count)
    std::memcpy(array.As<Napi::TypedArray>().ArrayBuffer().Data(), data,
                static_cast<size_t>(count * dtype_bytes(dtype)));
  return array;
}

Napi::Value read_view(Napi::Env env, const std::shared_ptr<Context>& context, std::shared_ptr<void> keep,
                      View view) {
  return EnvData::of(env).submit(context, env.Undefined(), [keep, view](Run& run) -> Convert {
    auto copy = std::make_shared<std::vector<char>>(static_cast<size_t>(view.bytes()));
    copy_memory(run.device, copy->data(), view.data, view.bytes());
    return [copy, dtype = view.dtype, count = view.size()](Napi::Env env) {
      return typed_array(env, dtype, copy->data(), count);
    };
  });
}

Napi::Value load_view(const char* function, const Napi::CallbackInfo& info, size_t first,
                      const std::shared_ptr<Context>& context, std::shared_ptr<void> keep, View target,
                      std::function<void(Run&)> after) {
  Napi::Object named = Napi::Object::New(info.Env());
  named.Set("path", info[first]), named.Set("offset", info[first + 1]), named.Set("dtype", info[first + 2]);
  const Options options(function, named);
  return EnvData::of(info.Env())
      .submit(context, info.Env().Undefined(),
              [keep, target, after = std::move(after), path = options.text("path"),
               offset = options.integer("offset"),
               dtype = options.choice<FileDType>("dtype", kFileDTypes, 4)](Run& run) -> Convert {
    load_numbers(path, offset, dtype, target, run);
    if (after) after(run);
    return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
  });
}

void adjust_memory(Napi::Env env, int64_t bytes) {
  int64_t total;
  napi_adjust_external_memory(env, bytes, &total);
}

}  // namespace hf::binding
