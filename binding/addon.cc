// The addon's entry point.
#include <napi.h>

#include "kernels.h"
#include "kernels/op_table.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  hf::register_all();
  hf::binding::init_kernels(env, exports);
  return exports;
}

NODE_API_MODULE(headfirst, init)
