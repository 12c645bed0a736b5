// The ModelSpec of src/core/addon/contract as the engine's.
#pragma once

#include <napi.h>

#include "model/spec.h"

namespace hf::binding {

ModelSpec model_spec_of(Napi::Value value);

}  // namespace hf::binding
