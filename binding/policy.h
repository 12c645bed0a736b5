// The fused policy gradient on matrices, without a model.
#pragma once

#include <napi.h>

namespace hf::binding {

void init_policy(Napi::Env env, Napi::Object exports);

}  // namespace hf::binding
