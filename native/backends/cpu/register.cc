// Registers the CPU columns that this build has: one namespace per instruction set (isa.h). Which of them a
// machine runs is chosen at run time (runtime/cpu.h).
#include <type_traits>

#include "backends/cpu/blas.h"
#include "ops/attention/cpu/scratch.h"
#include "ops/elementwise/cpu/scratch.h"
#include "ops/gram/cpu/scratch.h"
#include "ops/linear/cpu/scratch.h"
#include "ops/loss/cpu/scratch.h"
#include "ops/op_table.h"
#include "ops/optimizer/cpu/scratch.h"
#include "ops/rates.h"
#include "ops/sampling/cpu/scratch.h"
#include "ops/sketch/cpu/scratch.h"
#include "runtime/cpu.h"

// The build says which columns there are.
#ifndef HF_HAVE_CPU_BASE
#define HF_HAVE_CPU_BASE 0
#endif
#ifndef HF_HAVE_CPU_AVX2
#define HF_HAVE_CPU_AVX2 0
#endif
#ifndef HF_HAVE_CPU_AVX512
#define HF_HAVE_CPU_AVX512 0
#endif

namespace hf {

#define HF_DECLARE(Args)       \
  namespace cpu_base {         \
  void run(const Args&, Run&); \
  }                            \
  namespace cpu_avx2 {         \
  void run(const Args&, Run&); \
  }                            \
  namespace cpu_avx512 {       \
  void run(const Args&, Run&); \
  }
#define HF_OP(op, Forward, Backward, Jvp) HF_DECLARE(Forward) HF_DECLARE(Backward) HF_DECLARE(Jvp)
#include "ops/op_list.inc"
#undef HF_OP
HF_DECLARE(RateProbe)
#undef HF_DECLARE

namespace {

// The scratch memory of an op, where it has a function for it (ops/<family>/cpu/scratch.h).
template <class Args>
constexpr ScratchFn<Args> scratch_of() {
  if constexpr (requires(const Args& args) { cpu::scratch_bytes(args, int64_t{1}); })
    return [](const Args& args, const Run& run) { return cpu::scratch_bytes(args, int64_t{run.threads}); };
  return nullptr;
}

// The op itself may go to a BLAS of the system. Products inside other kernels call run() and stay here.
template <OpFn<GemmArgs> built_in>
void gemm(const GemmArgs& args, Run& run) {
  if (!blas_gemm(args, run)) built_in(args, run);
}

template <class Args, OpFn<Args> function>
constexpr OpFn<Args> entry_of() {
  if constexpr (std::is_same_v<Args, GemmArgs>) return &gemm<function>;
  return function;
}

template <class Args>
void add() {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    // A plan may ask what an op needs on a column that this build lacks.
    for (const Backend backend : {Backend::kCpuBase, Backend::kCpuAvx2, Backend::kCpuAvx512})
      scratch_row<Args>()[static_cast<int>(backend)] = scratch_of<Args>();
    OpFn<Args>* const row = op_row<Args>();
    if constexpr (HF_HAVE_CPU_BASE)
      row[static_cast<int>(Backend::kCpuBase)] = entry_of<Args, &cpu_base::run>();
    if constexpr (HF_HAVE_CPU_AVX2)
      row[static_cast<int>(Backend::kCpuAvx2)] = entry_of<Args, &cpu_avx2::run>();
    if constexpr (HF_HAVE_CPU_AVX512)
      row[static_cast<int>(Backend::kCpuAvx512)] = entry_of<Args, &cpu_avx512::run>();
  }
}

}  // namespace

void register_cpu() {
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>();                         \
  add<Backward>();                        \
  add<Jvp>();
#include "ops/op_list.inc"
#undef HF_OP
#if HF_HAVE_CPU_BASE
  rate_probe(Backend::kCpuBase) = &cpu_base::run;
#endif
#if HF_HAVE_CPU_AVX2
  rate_probe(Backend::kCpuAvx2) = &cpu_avx2::run;
#endif
#if HF_HAVE_CPU_AVX512
  rate_probe(Backend::kCpuAvx512) = &cpu_avx512::run;
#endif
}

}  // namespace hf
