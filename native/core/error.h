// The one exception type that native code throws.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "core/fail.h"

namespace hf {

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

// 'ERR_SHAPE' and so on.
const char* error_code_name(ErrorCode code) noexcept;

}  // namespace hf
