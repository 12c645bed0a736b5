// Shared by the binding's files: errors across the boundary and what one JavaScript environment (main thread or worker) owns.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>

#include "core/error.h"

namespace hf::binding {

// hf::Error → TypeError (argument, dtype), RangeError (shape, memory) or Error, with `.code`.
Napi::Error to_js_error(Napi::Env env, ErrorCode code, const std::string& message);

// Runs `body` and turns every C++ exception into a JavaScript one; nothing may unwind into Node.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js_error(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js_error(env, ErrorCode::kOutOfMemory, "out of memory; use a smaller batch");
  }
}

}  // namespace hf::binding
