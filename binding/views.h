// Typed arrays as views.
#pragma once

#include <napi.h>

#include "core/view.h"

namespace hf::binding {

// A TypedArray (rank 1), or { data: TypedArray, shape: number[], strides?: number[], offset?: number } (elements).
// Throws hf::Error naming `function` and `name`: wrong type, shape beyond the data, detached or shared buffer.
View view_of(const char* function, const char* name, Napi::Value value);

// A new zero-filled { data, shape } of the given type.
Napi::Object new_array(Napi::Env env, DType dtype, const int64_t* shape, int rank);

}  // namespace hf::binding
