// Every native/ops/*/cpu/*.cc, and rates.cc beside this file, is compiled once per instruction set, inside
// the namespace HF_ISA (cpu_base, cpu_avx2, cpu_avx512).
//
// Rules, checked by test/native/symbols.test.ts: no C++ library, no inline function from a header that is not
// HF_INLINE, no global objects. The object file must export run() overloads and nothing weak: of a weak
// function the linker keeps one copy, perhaps the one for AVX-512, and calls it on every machine.
#pragma once

#include "ops/all.h"
#include "runtime/run.h"

#ifndef HF_ISA
#error "CPU kernels are compiled per instruction set by CMakeLists.txt, which defines HF_ISA"
#endif

namespace hf::HF_ISA {
#define HF_OP(op, Forward, Backward, Jvp) \
  void run(const Forward&, Run&);         \
  void run(const Backward&, Run&);        \
  void run(const Jvp&, Run&);
#include "ops/op_list.inc"
#undef HF_OP
}  // namespace hf::HF_ISA
