// The platform that kernels are written for: CUDA C++ without its heavy headers, and the named functions of
// hardware.h. With HF_CUDA_EMULATED the same names come from test/emulation, which runs the kernels on the
// host.
#pragma once

#ifdef HF_CUDA_EMULATED
#include "emulation/hardware.h"
#else
#include "backends/cuda/hardware.h"
#endif
