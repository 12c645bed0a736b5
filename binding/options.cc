#include "options.h"

namespace hf::binding {
namespace {

bool is_array(Napi::Value value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

}  // namespace

std::vector<int32_t> Options::indices(const char* name) const {
  const Napi::Value value = get(name);
  HF_CHECK(is_array(value, napi_int32_array), ErrorCode::kInvalidArg, "%s: %s must be an Int32Array",
           function_, name);
  const Napi::Int32Array array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<double> Options::doubles(const char* name) const {
  const Napi::Value value = get(name);
  HF_CHECK(is_array(value, napi_float64_array), ErrorCode::kInvalidArg, "%s: %s must be a Float64Array",
           function_, name);
  const Napi::Float64Array array = value.As<Napi::Float64Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<bool> Options::mask(const char* name, size_t parameters) const {
  const Napi::Value value = get(name);
  HF_CHECK(is_array(value, napi_uint8_array) && value.As<Napi::TypedArray>().ElementLength() == parameters,
           ErrorCode::kInvalidArg, "%s: %s must be a Uint8Array with one entry per parameter (%zu)",
           function_, name, parameters);
  const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  return std::vector<bool>(array.Data(), array.Data() + parameters);
}

}  // namespace hf::binding
