#include "core/error.h"

#include <cstdarg>
#include <cstdio>

namespace hf {

void fail(ErrorCode code, const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Error(code, text);
}

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArg: return "ERR_INVALID_ARG";
    case ErrorCode::kShape: return "ERR_SHAPE";
    case ErrorCode::kDtype: return "ERR_DTYPE";
    case ErrorCode::kOutOfMemory: return "ERR_OUT_OF_MEMORY";
    case ErrorCode::kBackendUnavailable: return "ERR_BACKEND_UNAVAILABLE";
    case ErrorCode::kCuda: return "ERR_CUDA";
    case ErrorCode::kBusy: return "ERR_BUSY";
    case ErrorCode::kDisposed: return "ERR_DISPOSED";
    case ErrorCode::kUnsupported: return "ERR_UNSUPPORTED";
    case ErrorCode::kAborted: return "ERR_ABORTED";
    case ErrorCode::kIo: return "ERR_IO";
  }
  return "ERR_UNKNOWN";
}

}  // namespace hf
