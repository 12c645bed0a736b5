#include "numbers.h"

#include <cstring>

#include "env.h"
#include "model/load.h"
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

std::shared_ptr<HostNumbers> new_numbers(DType dtype, int64_t count) {
  auto numbers = std::make_shared<HostNumbers>();
  numbers->bytes.resize(static_cast<size_t>(count * dtype_bytes(dtype)));
  numbers->dtype = dtype;
  return numbers;
}

std::shared_ptr<HostNumbers> host_numbers(const char* function, const char* name, Napi::Value value,
                                          DType dtype, int64_t expected) {
  auto numbers = std::make_shared<HostNumbers>();
  numbers->bytes = copy_numbers(function, name, value, dtype, expected);
  numbers->dtype = dtype;
  return numbers;
}

std::vector<double> copy_doubles(const char* function, const char* name, Napi::Value value,
                                 int64_t expected) {
  const View view = view_of(function, name, value);
  HF_CHECK(view.contiguous(), ErrorCode::kShape, "%s: %s must be contiguous", function, name);
  HF_CHECK(view.size() == expected, ErrorCode::kShape, "%s: %s must have %lld entries, got %lld", function,
           name, static_cast<long long>(expected), static_cast<long long>(view.size()));
  std::vector<double> out(static_cast<size_t>(expected));
  convert_numbers(view, make_view(out.data(), DType::kF64, expected));
  return out;
}

Tensor copy_tensor(const std::shared_ptr<Context>& context, const View& source) {
  Tensor tensor;
  tensor.view = source;
  tensor.view.dtype = context->real();
  tensor.buffer = Buffer::create(tensor.view.bytes(), context->counter());
  tensor.view.data = tensor.buffer->data();
  Device* device = context->device().get();
  if (!device) {
    convert_numbers(source, tensor.view);
    return tensor;
  }
  const std::shared_ptr<HostNumbers> converted = new_numbers(tensor.view.dtype, tensor.view.size());
  convert_numbers(source, converted->view());
  device->copy(tensor.view.data, converted->bytes.data(), tensor.view.bytes());
  return tensor;
}

Napi::Value typed_array(Napi::Env env, DType dtype, const void* data, int64_t count) {
  const int64_t shape[] = {count};
  Napi::Object array = new_array(env, dtype, shape, 1).Get("data").As<Napi::Object>();
  if (count)
    std::memcpy(array.As<Napi::TypedArray>().ArrayBuffer().Data(), data,
                static_cast<size_t>(count * dtype_bytes(dtype)));
  return array;
}

Napi::Value numbers_to_js(Napi::Env env, HostNumbers& numbers) {
  return typed_array(env, numbers.dtype, numbers.bytes.data(), numbers.count());
}

Napi::Value doubles_to_js(Napi::Env env, const std::vector<double>& numbers) {
  return typed_array(env, DType::kF64, numbers.data(), int64_t(numbers.size()));
}

Napi::Value floats_to_js(Napi::Env env, const std::vector<double>& numbers) {
  const std::vector<float> rounded(numbers.begin(), numbers.end());
  return typed_array(env, DType::kF32, rounded.data(), int64_t(rounded.size()));
}

Napi::Value integers_to_js(Napi::Env env, const std::vector<int32_t>& numbers) {
  return typed_array(env, DType::kI32, numbers.data(), int64_t(numbers.size()));
}

Napi::Value bytes_to_js(Napi::Env env, const std::vector<uint8_t>& numbers) {
  return typed_array(env, DType::kU8, numbers.data(), int64_t(numbers.size()));
}

Napi::Array rows_to_js(Napi::Env env, const std::vector<double>& numbers, int64_t count) {
  const int64_t size = count > 0 ? int64_t(numbers.size()) / count : 0;
  Napi::Array rows = Napi::Array::New(env, size_t(count));
  for (int64_t i = 0; i < count; ++i)
    rows.Set(uint32_t(i), typed_array(env, DType::kF64, numbers.data() + i * size, size));
  return rows;
}

Napi::Value read_view(Napi::Env env, const std::shared_ptr<Context>& context, std::shared_ptr<void> keep,
                      View view) {
  return EnvData::of(env).submit(context, env.Undefined(), [keep, view](Run& run) -> Convert {
    const std::shared_ptr<HostNumbers> copy = new_numbers(view.dtype, view.size());
    copy_memory(run.device, copy->bytes.data(), view.data, view.bytes());
    return [copy](Napi::Env env) { return numbers_to_js(env, *copy); };
  });
}

Napi::Value load_view(const char* function, const Napi::CallbackInfo& info, size_t first,
                      const std::shared_ptr<Context>& context, std::shared_ptr<void> keep, View target,
                      std::function<void(Run&)> after) {
  Napi::Object named = Napi::Object::New(info.Env());
  named.Set("path", info[first]);
  named.Set("offset", info[first + 1]);
  named.Set("dtype", info[first + 2]);
  const Options options(function, named);
  const std::string path = options.text("path");
  const int64_t offset = options.integer("offset");
  const FileDType dtype = options.choice<FileDType>("dtype", kFileDTypes, 4);
  const Work work = [keep, target, after = std::move(after), path, offset, dtype](Run& run) -> Convert {
    const int64_t non_finite = load_numbers(path, offset, dtype, target, run);
    if (after) after(run);
    return [non_finite](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, double(non_finite)); };
  };
  return EnvData::of(info.Env()).submit(context, info.Env().Undefined(), work);
}

}  // namespace hf::binding
