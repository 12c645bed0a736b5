// NativeFunctions of src/core/addon/contract as the engine's list of functions.
#pragma once

#include <napi.h>

#include <memory>

#include "ntk/functions.h"

namespace hf::binding {

// Every index is checked once, here.
std::shared_ptr<Functions> functions_of(const char* function, Napi::Value value, const Model& model);
// Null when the value is no object: a call with one list of functions.
std::shared_ptr<Functions> second_functions_of(const char* function, Napi::Value value, const Model& model);

}  // namespace hf::binding
