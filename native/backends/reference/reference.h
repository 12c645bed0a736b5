// The reference column: hf::reference::run<Real>(args, run), the contract's equation as plain loops. One file
// per op; it ends with HF_REFERENCE(SomeArgs) for each of its args types, which instantiates float and
// double.
#pragma once

#include "ops/all.h"
#include "runtime/run.h"

namespace hf::reference {

#define HF_OP(op, Forward, Backward, Jvp) \
  template <class Real>                   \
  void run(const Forward& args, Run&);    \
  template <class Real>                   \
  void run(const Backward& args, Run&);   \
  template <class Real>                   \
  void run(const Jvp& args, Run&);
#include "ops/op_list.inc"
#undef HF_OP

// An element of a matrix that may be bfloat16, which is widened exactly.
template <class Real>
Real real_at(const View& m, int64_t row, int64_t column) {
  const int64_t at = row * m.stride[0] + column * m.stride[1];
  if (m.dtype == DType::kBF16)
    return static_cast<Real>(__builtin_bit_cast(float, static_cast<uint32_t>(m.as<uint16_t>()[at]) << 16));
  return m.as<Real>()[at];
}

#define HF_REFERENCE(Args)                     \
  template void run<float>(const Args&, Run&); \
  template void run<double>(const Args&, Run&);

}  // namespace hf::reference
