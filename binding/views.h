// Typed arrays as views.
#pragma once

#include <napi.h>

#include "core/view.h"

namespace hf::binding {

// A TypedArray (rank 1), or { data: TypedArray, shape: number[], strides?: number[], offset?: number }
// (elements). Throws hf::Error naming `function` and `name`: wrong type, shape beyond the data, detached or
// shared buffer. `given`, if asked for, is the TypedArray itself.
View view_of(const char* function, const char* name, Napi::Value value, Napi::TypedArray* given = nullptr);
// ERR_SHAPE unless the view, which starts `offset` elements into an array of `length`, stays inside it.
void check_extent(const char* function, const char* name, const View& view, int64_t offset, int64_t length);
DType dtype_of(const char* function, const char* name, napi_typedarray_type type);

// A new zero-filled { data, shape } of the given type.
Napi::Object new_array(Napi::Env env, DType dtype, const int64_t* shape, int rank);
// Its sizes, outermost first.
Napi::Array shape_to_js(Napi::Env env, const View& view);

}  // namespace hf::binding
