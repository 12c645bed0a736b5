#include "runtime/cpu.h"

#include <cstdlib>
#include <optional>
#include <thread>

#include "core/error.h"
#include "runtime/device.h"
#include "runtime/instruction_sets.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace hf {
namespace {

std::optional<Backend> cpu_backend_named(const std::string& name) {
  if (name == "base") return Backend::kCpuBase;
  if (name == "avx2") return Backend::kCpuAvx2;
  if (name == "avx512") return Backend::kCpuAvx512;
  return std::nullopt;
}

// The columns of this build, whether or not this machine runs them.
std::string built_columns() {
  std::string names;
#if HF_HAVE_CPU_BASE
  names += " base";
#endif
#if HF_HAVE_CPU_AVX2
  names += " avx2";
#endif
#if HF_HAVE_CPU_AVX512
  names += " avx512";
#endif
  return names.substr(1);
}

#if HF_HAVE_CPU_AVX512
// The emulated kernels have wide vectors and AVX2 instructions.
bool runs_avx512_column() {
#if HF_EMULATE_AVX512
  return instruction_sets().avx2;
#else
  return instruction_sets().avx512;
#endif
}
#endif

}  // namespace

bool backend_available(Backend backend) {
  switch (backend) {
    case Backend::kReference32:
    case Backend::kReference64: return true;
#if HF_HAVE_CPU_BASE
    case Backend::kCpuBase: return true;
#endif
#if HF_HAVE_CPU_AVX2
    case Backend::kCpuAvx2: return instruction_sets().avx2;
#endif
#if HF_HAVE_CPU_AVX512
    case Backend::kCpuAvx512: return runs_avx512_column();
#endif
    case Backend::kCuda: return !cuda_status().devices.empty();
    default: return false;
  }
}

Backend best_cpu_backend() {
  const char* wanted = std::getenv("HEADFIRST_ISA");
  if (wanted && *wanted) {
    const std::optional<Backend> backend = cpu_backend_named(wanted);
    HF_CHECK(backend, ErrorCode::kInvalidArg, "HEADFIRST_ISA must be base, avx2 or avx512, got '%s'", wanted);
    HF_CHECK(backend_available(*backend), ErrorCode::kBackendUnavailable,
             "HEADFIRST_ISA asks for '%s', which this machine cannot run or this build does not have "
             "(it has %s); unset it",
             wanted, built_columns().c_str());
    return *backend;
  }
  for (const Backend backend : {Backend::kCpuAvx512, Backend::kCpuAvx2, Backend::kCpuBase})
    if (backend_available(backend)) return backend;
  fail(
      ErrorCode::kBackendUnavailable,
      "this build has CPU kernels for %s only, which this machine cannot run; it was built on another "
      "machine: build it again here (a checkout: npm run build:native; for all machines with HEADFIRST_ISAS=all)",
      built_columns().c_str());
}

bool has_bf16_dot() {
#if HF_HAVE_CPU_AVX512 && !HF_EMULATE_AVX512
  return instruction_sets().bf16_dot;
#else
  return false;
#endif
}

int available_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n ? static_cast<int>(n) : 1;
}

}  // namespace hf
