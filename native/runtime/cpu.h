// What this processor can run.
#pragma once

#include <string>

#include "runtime/run.h"

namespace hf {

// True when this build contains the backend's code and the processor and operating system (kCuda: a device
// and its driver) can run it.
bool backend_available(Backend backend);
// The best CPU backend, lowered by HEADFIRST_ISA=base|avx2|avx512. Throws ERR_BACKEND_UNAVAILABLE when that
// names one that this machine cannot run.
Backend best_cpu_backend();
// Whether the processor multiplies bfloat16 pairs into float32 (AVX512_BF16).
bool has_bf16_dot();
// Which BLAS takes large plain products of the CPU (HEADFIRST_BLAS), or why none; opens it on the first call.
// Implemented by native/backends/cpu/blas.cc.
std::string blas_status();
// Threads this process may run on.
int available_threads();

}  // namespace hf
