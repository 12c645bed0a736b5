// Plain matrix products by cuBLASLt, where the machine has it. It is opened at run time and never linked;
// cublas_status() of runtime/device.h says which one is used.
#pragma once

#include "backends/cuda/stream.h"

namespace hf::cuda {

// d = alpha · a b (+ c) (+ bias, per column)
struct Product {
  View a, b;  // (M, K), (K, N): both float32 or both bfloat16, plain matrices (core/view.h)
  View d;     // (M, N): float32 or bfloat16, contiguous rows
  View c;     // absent, d itself, or another matrix of d's type; may not overlap d in part
  View bias;  // (N), of d's type
  float alpha = 1;
  bool tf32 = false;  // float32 operands may be rounded to tf32; sums are float32 in any case
  // So many products in one call. The matrices of each (but the bias) lie so many numbers after those of the
  // one before; c is then absent, or d.
  int64_t batch = 1;
  int64_t a_step = 0;
  int64_t b_step = 0;
  int64_t d_step = 0;
};

// False when this machine has no cuBLASLt or it is switched off.
bool blas_available();
// `name` is for the profile. False, with nothing done, when there is no cuBLASLt or it does not take these
// operands.
bool blas_product(const char* name, Stream& stream, const Product& product);

}  // namespace hf::cuda
