// `kernels.<op>` for every op, from the field lists alone.
#pragma once

#include <napi.h>

namespace hf::binding {

void init_kernels(Napi::Env env, Napi::Object exports);

}  // namespace hf::binding
