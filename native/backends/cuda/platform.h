// What kernels are written in: CUDA C++ without its heavy headers, plus named functions for what needs inline
// PTX or a look at shared memory (hardware.h). With HF_CUDA_EMULATED the same names come from test/emulation,
// which runs the kernels on the host.
#pragma once

#ifdef HF_CUDA_EMULATED
#include "emulation/hardware.h"
#else
#include "backends/cuda/hardware.h"
#endif
