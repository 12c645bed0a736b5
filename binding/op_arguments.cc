#include "op_arguments.h"

#include <algorithm>
#include <string>

#include "options.h"
#include "views.h"

namespace hf::binding {
namespace {

DType dtype_of_field(unsigned flags, DType real) {
  if (flags & kIndices) return DType::kI32;
  if (flags & kBytes) return DType::kU8;
  if (flags & kDouble) return DType::kF64;
  return real;
}

}  // namespace

Napi::Value ObjectReader::get(const char* name) {
  known_.push_back(name);
  return object_.Get(name);
}

double ObjectReader::number_of(const char* name, Napi::Value given) const {
  HF_CHECK(given.IsNumber(), ErrorCode::kInvalidArg, "%s: %s must be a number", op_, name);
  return given.As<Napi::Number>().DoubleValue();
}

View ObjectReader::borrow(const char* name, Napi::Value given) {
  Napi::TypedArray array;
  const View view = view_of(op_, name, given, &array);
  if (!borrowed_) return view;
  const bool resizable = array.ArrayBuffer().Get("resizable").ToBoolean();
  HF_CHECK(!resizable, ErrorCode::kInvalidArg,
           "%s: %s lies in a resizable ArrayBuffer, which could shrink while the job runs; copy it into a "
           "plain one",
           op_, name);
  borrowed_->push_back(array);
  return view;
}

void ObjectReader::bind(const char* name, Napi::Value given, View& view, const char* dims) {
  view = borrow(name, given);
  if (view.rank == DimTable::rank_of(dims)) dims_.bind(name, view, dims);
}

void ObjectReader::tensor(const char* name, View& view, FieldRole role, const char* dims, unsigned flags) {
  if (role == FieldRole::kIn)
    input(name, view, dims, flags);
  else
    output(name, view, dims, flags);
}

void ObjectReader::input(const char* name, View& view, const char* dims, unsigned flags) {
  const Napi::Value given = get(name);
  if (!given.IsUndefined() && !given.IsNull()) bind(name, given, view, dims);
  const bool optional = (flags & kOptional) != 0;
  sound_ = sound_ && (view ? view.rank == DimTable::rank_of(dims) : optional);
}

// Outputs may be left out: required ones, and optional ones asked for with `true`, are allocated when every
// dimension is known from the inputs.
void ObjectReader::output(const char* name, View& view, const char* dims, unsigned flags) {
  if (results_.IsEmpty()) results_ = Napi::Object::New(object_.Env());
  const Napi::Value given = get(name);
  const bool asked = given.IsBoolean() && given.As<Napi::Boolean>().Value();
  const bool required = !(flags & kOptional);
  const bool absent = given.IsUndefined() || given.IsNull() || given.IsBoolean();
  if (asked || (given.IsUndefined() && required)) {
    missing_.push_back({name, &view, dims, flags});
  } else if (!absent) {
    bind(name, given, view, dims);
    results_.Set(name, given);
  }
}

void ObjectReader::number(const char* name, double& value) {
  const Napi::Value given = get(name);
  if (!given.IsUndefined()) value = number_of(name, given);
}

void ObjectReader::integer(const char* name, int64_t& value) {
  const Napi::Value given = get(name);
  if (given.IsUndefined()) return;
  const double number = number_of(name, given);
  value = static_cast<int64_t>(number);
  HF_CHECK(static_cast<double>(value) == number, ErrorCode::kInvalidArg, "%s: %s must be an integer, got %g",
           op_, name, number);
}

void ObjectReader::flag(const char* name, bool& value) {
  const Napi::Value given = get(name);
  if (given.IsUndefined()) return;
  HF_CHECK(given.IsBoolean(), ErrorCode::kInvalidArg, "%s: %s must be true or false", op_, name);
  value = given.As<Napi::Boolean>().Value();
}

void ObjectReader::choice(const char* name, int& value, const char* const* names, int count) {
  const Napi::Value given = get(name);
  if (given.IsUndefined()) return;
  const std::string text =
      given.IsString() ? given.As<Napi::String>().Utf8Value() : std::string("something that is not a string");
  value = choice_of<int>(op_, name, text, names, count);
}

void ObjectReader::finish() {
  check_names();
  for (const Missing& output : missing_)
    allocate(output);
}

void ObjectReader::check_names() const {
  const Napi::Array names = object_.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString().Utf8Value();
    const bool known = std::any_of(known_.begin(), known_.end(), [&](const char* k) { return name == k; });
    HF_CHECK(known, ErrorCode::kInvalidArg, "%s: there is no argument '%s'", op_, name.c_str());
  }
}

void ObjectReader::allocate(const Missing& output) {
  int64_t shape[kMaxRank];
  int rank = 0;
  for (const char* c = output.dims; *c;) {
    int length = 0;
    while (c[length] && c[length] != ' ')
      ++length;
    const int64_t size = dims_.size_of(c, length);
    if (size < 0 && !sound_) return;  // validate() says what is wrong with the input
    HF_CHECK(size >= 0, ErrorCode::kInvalidArg,
             "%s: %s of shape (%s) is required: its size does not follow from the inputs", op_, output.name,
             output.dims);
    shape[rank] = size;
    ++rank;
    c += length;
    while (*c == ' ')
      ++c;
  }
  const Napi::Object array = new_array(object_.Env(), dtype_of_field(output.flags, real_), shape, rank);
  *output.view = borrow(output.name, array);
  results_.Set(output.name, array);
}

void FrameReader::tensor(const char* name, View& view, FieldRole, const char*, unsigned) {
  constexpr int kShape = 3;
  constexpr int kStride = kShape + kMaxRank;
  constexpr int kNumbers = kStride + kMaxRank;
  const double* frame = frame_;
  frame_ += kNumbers;
  view.rank = static_cast<int32_t>(frame[0]);
  if (view.rank == 0) return;

  napi_typedarray_type type;
  size_t length;
  void* data;
  napi_value buffer;
  bool plain = false;
  const size_t which = static_cast<size_t>(frame[1]);
  const bool is_array =
      which < count_ &&
      napi_get_typedarray_info(env_, arrays_[which], &type, &length, &data, &buffer, nullptr) == napi_ok &&
      napi_is_arraybuffer(env_, buffer, &plain) == napi_ok && plain;
  HF_CHECK(is_array, ErrorCode::kInvalidArg, "%s: %s must be a typed array in an ArrayBuffer", op_, name);

  const int64_t offset = static_cast<int64_t>(frame[2]);
  view.dtype = dtype_of(op_, name, type);
  int64_t elements = 1;
  for (int i = 0; i < view.rank; ++i) {
    view.shape[i] = static_cast<int64_t>(frame[kShape + i]);
    view.stride[i] = static_cast<int64_t>(frame[kStride + i]);
    HF_CHECK(!__builtin_mul_overflow(elements, view.shape[i], &elements), ErrorCode::kShape,
             "%s: %s.shape is too large", op_, name);
  }
  static char nothing[64];  // an empty array has no address, but a view needs one
  view.data = length ? static_cast<char*>(data) + offset * dtype_bytes(view.dtype) : nothing;
  check_extent(op_, name, view, offset, static_cast<int64_t>(length));
}

const double* frame_of(const char* op, Napi::Env env, napi_value value) {
  napi_typedarray_type type;
  size_t length;
  void* frame;
  const bool is_array =
      napi_get_typedarray_info(env, value, &type, &length, &frame, nullptr, nullptr) == napi_ok;
  HF_CHECK(is_array && type == napi_float64_array, ErrorCode::kInvalidArg,
           "%s: a packed call starts with its frame", op);
  return static_cast<const double*>(frame);
}

}  // namespace hf::binding
