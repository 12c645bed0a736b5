#include "env.h"

namespace hf::binding {

Napi::Error to_js_error(Napi::Env env, ErrorCode code, const std::string& message) {
  Napi::Error error = [&]() -> Napi::Error {
    switch (code) {
      case ErrorCode::kInvalidArg:
      case ErrorCode::kDtype: return Napi::TypeError::New(env, message);
      case ErrorCode::kShape:
      case ErrorCode::kOutOfMemory: return Napi::RangeError::New(env, message);
      default: return Napi::Error::New(env, message);
    }
  }();
  error.Set("code", Napi::String::New(env, error_code_name(code)));
  return error;
}

}  // namespace hf::binding
