// Reading plain JavaScript option objects. TypeScript has checked them for people; these checks keep native
// code safe from the rest.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace hf::binding {

// The entry of an enum that a text names.
template <class E>
E choice_of(const char* function, const char* name, const std::string& text, const char* const* names,
            int count) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    if (text == names[i]) return static_cast<E>(i);
    all += (i ? ", '" : "'") + std::string(names[i]) + "'";
  }
  fail(ErrorCode::kInvalidArg, "%s: %s must be one of %s, got '%s'", function, name, all.c_str(),
       text.c_str());
}

class Options {
 public:
  Options(const char* function, Napi::Value value) : function_(function) {
    HF_CHECK(value.IsObject(), ErrorCode::kInvalidArg, "%s: an options object is required", function);
    object_ = value.As<Napi::Object>();
  }
  Napi::Value get(const char* name) const { return object_.Get(name); }
  bool has(const char* name) const {
    const Napi::Value value = get(name);
    return !value.IsUndefined() && !value.IsNull();
  }
  double number(const char* name) const {
    const Napi::Value value = get(name);
    HF_CHECK(value.IsNumber(), ErrorCode::kInvalidArg, "%s: %s must be a number", function_, name);
    return value.As<Napi::Number>().DoubleValue();
  }
  double number(const char* name, double otherwise) const { return has(name) ? number(name) : otherwise; }
  int64_t integer(const char* name) const {
    const double value = number(name);
    HF_CHECK(value == double(int64_t(value)), ErrorCode::kInvalidArg, "%s: %s must be an integer, got %g",
             function_, name, value);
    return int64_t(value);
  }
  bool flag(const char* name) const { return get(name).ToBoolean(); }
  std::string text(const char* name) const {
    const Napi::Value value = get(name);
    HF_CHECK(value.IsString(), ErrorCode::kInvalidArg, "%s: %s must be a string", function_, name);
    return value.As<Napi::String>();
  }
  template <class E>
  E choice(const char* name, const char* const* names, int count) const {
    return choice_of<E>(function_, name, text(name), names, count);
  }
  // Copies of an Int32Array and of a Float64Array.
  std::vector<int32_t> indices(const char* name) const;
  std::vector<double> doubles(const char* name) const;
  // A Uint8Array with one entry per parameter of a model.
  std::vector<bool> mask(const char* name, size_t parameters) const;
  const char* function() const { return function_; }

 private:
  const char* function_;
  Napi::Object object_;
};

}  // namespace hf::binding
