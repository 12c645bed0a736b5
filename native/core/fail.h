// Raising an error without pulling the C++ library into files that are compiled once per instruction set.
#pragma once

namespace hf {

// One code per kind of mistake; the binding turns it into `error.code`, e.g. kShape into 'ERR_SHAPE'.
enum class ErrorCode {
  kInvalidArg,
  kShape,
  kDtype,
  kOutOfMemory,
  kBackendUnavailable,
  kCuda,
  kBusy,
  kDisposed,
  kUnsupported,
  kAborted,
  kIo,
};

// Throws hf::Error (core/error.h). `format` is printf's.
[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(ErrorCode code, const char* format, ...);

}  // namespace hf

// Checks what only a caller can get wrong. Internal invariants are tested, not checked.
#define HF_CHECK(condition, code, ...)               \
  do {                                               \
    if (!(condition)) ::hf::fail(code, __VA_ARGS__); \
  } while (false)
