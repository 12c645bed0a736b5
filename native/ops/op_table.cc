#include "ops/op_table.h"

#include <cstdlib>
#include <mutex>

namespace hf {

const char* backend_name(Backend backend) {
  switch (backend) {
    case Backend::kReference32: return "reference32";
    case Backend::kReference64: return "reference64";
    case Backend::kCpuBase: return "base";
    case Backend::kCpuAvx2: return "avx2";
    case Backend::kCpuAvx512: return "avx512";
    case Backend::kCuda: return "cuda";
  }
  return "unknown";
}

void register_all() {
  static std::once_flag once;
  std::call_once(once, [] {
    register_reference();
    register_cpu();
    register_cuda();
  });
}

bool validate_internal_calls() {
  static const bool on = [] {
    const char* value = std::getenv("HEADFIRST_VALIDATE");
    return value && *value == '1';
  }();
  return on;
}

}  // namespace hf
