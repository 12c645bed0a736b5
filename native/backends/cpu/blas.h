// Large plain products of the gemm op by a BLAS of the system, where HEADFIRST_BLAS names one: opened at run
// time, never linked. runtime/cpu.h says which one (blas_status).
#pragma once

#include "ops/linear/gemm.h"
#include "runtime/run.h"

namespace hf {

// False, with nothing done, when none is asked for or the product is not one for it. ERR_BACKEND_UNAVAILABLE
// when the one asked for cannot be used.
bool blas_gemm(const GemmArgs& args, Run& run);

}  // namespace hf
