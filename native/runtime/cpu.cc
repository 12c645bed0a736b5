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

}  // namespace

bool backend_available(Backend backend) {
  switch (backend) {
    case Backend::kReference32:
    case Backend::kReference64:
    case Backend::kCpuBase: return true;
#if HF_HAVE_X86_ISAS
    case Backend::kCpuAvx2: return instruction_sets().avx2;
#if HF_EMULATE_AVX512
    case Backend::kCpuAvx512: return instruction_sets().avx2;
#else
    case Backend::kCpuAvx512: return instruction_sets().avx512;
#endif
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
             "HEADFIRST_ISA asks for '%s', which this machine cannot run; unset it", wanted);
    return *backend;
  }
  if (backend_available(Backend::kCpuAvx512)) return Backend::kCpuAvx512;
  if (backend_available(Backend::kCpuAvx2)) return Backend::kCpuAvx2;
  return Backend::kCpuBase;
}

bool has_bf16_dot() {
#if HF_HAVE_X86_ISAS && !HF_EMULATE_AVX512
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
