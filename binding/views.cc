#include "views.h"

#include "core/error.h"

namespace hf::binding {
DType dtype_of(const char* function, const char* name, napi_typedarray_type type) {
  switch (type) {
    case napi_float32_array: return DType::kF32;
    case napi_float64_array: return DType::kF64;
    case napi_int32_array: return DType::kI32;
    case napi_uint16_array: return DType::kBF16;
    case napi_uint8_array: return DType::kU8;
    default: break;
  }
  fail(ErrorCode::kDtype,
       "%s: %s must be a Float32Array, Float64Array, Int32Array, Uint16Array (bfloat16) or Uint8Array",
       function, name);
}

namespace {

int64_t integer_at(const char* function, const char* name, const char* property, Napi::Array array,
                   uint32_t index) {
  Napi::Value value = array.Get(index);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  HF_CHECK(number >= 0 && number <= 9007199254740991.0 &&
               number == static_cast<double>(static_cast<int64_t>(number)),
           ErrorCode::kShape, "%s: %s.%s[%u] must be a non-negative integer", function, name, property,
           index);
  return static_cast<int64_t>(number);
}

}  // namespace

void check_extent(const char* function, const char* name, const View& view, int64_t offset, int64_t length) {
  int64_t last = offset;
  for (int i = 0; i < view.rank; ++i) {
    int64_t extent;
    HF_CHECK(!__builtin_mul_overflow(view.shape[i] - 1, view.stride[i], &extent) &&
                 !__builtin_add_overflow(last, extent, &last),
             ErrorCode::kShape, "%s: %s is too large", function, name);
  }
  HF_CHECK(view.size() == 0 || last < length, ErrorCode::kShape,
           "%s: %s.shape needs %lld elements, but its data has %lld", function, name, (long long)(last + 1),
           (long long)length);
}

namespace {

// The sizes of a described array, and strides of one that lies row by row without gaps.
void read_shape(const char* function, const char* name, Napi::Value given, View& view) {
  HF_CHECK(given.IsArray(), ErrorCode::kShape, "%s: %s.shape must be an array of sizes", function, name);
  const Napi::Array sizes = given.As<Napi::Array>();
  HF_CHECK(sizes.Length() >= 1 && sizes.Length() <= kMaxRank, ErrorCode::kShape,
           "%s: %s.shape must have 1 to %d entries, got %u", function, name, kMaxRank, sizes.Length());
  view.rank = static_cast<int32_t>(sizes.Length());
  int64_t step = 1;
  for (int i = view.rank - 1; i >= 0; --i) {
    view.shape[i] = integer_at(function, name, "shape", sizes, i);
    view.stride[i] = step;
    HF_CHECK(!__builtin_mul_overflow(step, view.shape[i], &step), ErrorCode::kShape,
             "%s: %s.shape is too large", function, name);
  }
}

void read_strides(const char* function, const char* name, Napi::Value given, View& view) {
  if (given.IsUndefined()) return;
  HF_CHECK(given.IsArray() && given.As<Napi::Array>().Length() == uint32_t(view.rank), ErrorCode::kShape,
           "%s: %s.strides must have one entry per dimension", function, name);
  for (int i = 0; i < view.rank; ++i)
    view.stride[i] = integer_at(function, name, "strides", given.As<Napi::Array>(), i);
}

int64_t read_offset(const char* function, const char* name, Napi::Value given) {
  if (given.IsUndefined()) return 0;
  HF_CHECK(given.IsNumber() && given.As<Napi::Number>().Int64Value() >= 0, ErrorCode::kShape,
           "%s: %s.offset must be a non-negative integer", function, name);
  return given.As<Napi::Number>().Int64Value();
}

// The whole of an array that can be read in place.
View whole_view(const char* function, const char* name, Napi::TypedArray array) {
  const Napi::ArrayBuffer buffer = array.ArrayBuffer();
  HF_CHECK(buffer.IsArrayBuffer(), ErrorCode::kInvalidArg,
           "%s: %s must not lie in a SharedArrayBuffer; copy it into an ArrayBuffer", function, name);
  HF_CHECK(!array.ArrayBuffer().IsDetached(), ErrorCode::kInvalidArg,
           "%s: the buffer of %s is detached (it was transferred away)", function, name);
  static char nothing[64];  // an empty array has no address, but a view needs one
  const int64_t length = static_cast<int64_t>(array.ElementLength());
  char* begin = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return make_view(length ? begin : nothing, dtype_of(function, name, array.TypedArrayType()), length);
}

}  // namespace

View view_of(const char* function, const char* name, Napi::Value value, Napi::TypedArray* given) {
  const bool described = !value.IsTypedArray() && value.IsObject();
  const Napi::Value data = described ? value.As<Napi::Object>().Get("data") : value;
  HF_CHECK(data.IsTypedArray(), ErrorCode::kInvalidArg,
           "%s: %s must be a typed array or { data: typed array, shape: number[] }", function, name);
  const Napi::TypedArray array = data.As<Napi::TypedArray>();
  if (given) *given = array;
  View view = whole_view(function, name, array);
  if (!described) return view;

  const Napi::Object object = value.As<Napi::Object>();
  const int64_t length = view.shape[0];
  read_shape(function, name, object.Get("shape"), view);
  read_strides(function, name, object.Get("strides"), view);
  const int64_t first = read_offset(function, name, object.Get("offset"));
  view.data = static_cast<char*>(view.data) + first * dtype_bytes(view.dtype);
  check_extent(function, name, view, first, length);
  return view;
}

namespace {

napi_typedarray_type array_type(DType dtype) {
  switch (dtype) {
    case DType::kF64: return napi_float64_array;
    case DType::kI32: return napi_int32_array;
    case DType::kU8: return napi_uint8_array;
    default: return napi_float32_array;
  }
}

}  // namespace

Napi::Object new_array(Napi::Env env, DType dtype, const int64_t* shape, int rank) {
  int64_t size = 1;
  Napi::Array sizes = Napi::Array::New(env, static_cast<size_t>(rank));
  for (int i = 0; i < rank; ++i) {
    size *= shape[i];
    sizes.Set(static_cast<uint32_t>(i), Napi::Number::New(env, double(shape[i])));
  }
  const size_t count = static_cast<size_t>(size);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, count * static_cast<size_t>(dtype_bytes(dtype)));
  napi_value array;
  NAPI_THROW_IF_FAILED(env, napi_create_typedarray(env, array_type(dtype), count, buffer, 0, &array),
                       Napi::Object());
  Napi::Object result = Napi::Object::New(env);
  result.Set("data", array);
  result.Set("shape", sizes);
  return result;
}

Napi::Array shape_to_js(Napi::Env env, const View& view) {
  Napi::Array shape = Napi::Array::New(env, static_cast<size_t>(view.rank));
  for (int i = 0; i < view.rank; ++i)
    shape.Set(static_cast<uint32_t>(i), Napi::Number::New(env, double(view.shape[i])));
  return shape;
}

}  // namespace hf::binding
