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

#define HF_ISA cpu_base
#include "backends/cpu/isa.h"
#undef HF_ISA

namespace hf {
namespace cpu_base {
void run(const RateProbe&, Run&);
}
#if HF_HAVE_X86_ISAS
#define HF_DECLARE(Args)       \
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
#endif

namespace {

// The scratch memory of an op, where it has a function for it (ops/<family>/cpu/scratch.h).
template <class Args>
constexpr ScratchFn<Args> scratch_of() {
  if constexpr (requires(const Args& args) { cpu::scratch_bytes(args, int64_t{1}); })
    return [](const Args& args, const Run& run) { return cpu::scratch_bytes(args, int64_t{run.threads}); };
  return nullptr;
}

template <class Args>
void add_column(Backend backend, OpFn<Args> function) {
  op_row<Args>()[static_cast<int>(backend)] = function;
  scratch_row<Args>()[static_cast<int>(backend)] = scratch_of<Args>();
}

template <class Args>
void add() {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    add_column<Args>(Backend::kCpuBase, &cpu_base::run);
#if HF_HAVE_X86_ISAS
    add_column<Args>(Backend::kCpuAvx2, &cpu_avx2::run);
    add_column<Args>(Backend::kCpuAvx512, &cpu_avx512::run);
#endif
  }
}

// The op itself may go to a BLAS of the system. Products inside other kernels call run() and stay here.
template <OpFn<GemmArgs> built_in>
void gemm(const GemmArgs& args, Run& run) {
  if (!blas_gemm(args, run)) built_in(args, run);
}

void add_rate_probe(Backend backend, RateProbeFn probe) {
  rate_probe(backend) = probe;
}

}  // namespace

void register_cpu() {
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>();                         \
  add<Backward>();                        \
  add<Jvp>();
#include "ops/op_list.inc"
#undef HF_OP
  op_row<GemmArgs>()[static_cast<int>(Backend::kCpuBase)] = gemm<&cpu_base::run>;
  add_rate_probe(Backend::kCpuBase, &cpu_base::run);
#if HF_HAVE_X86_ISAS
  op_row<GemmArgs>()[static_cast<int>(Backend::kCpuAvx2)] = gemm<&cpu_avx2::run>;
  op_row<GemmArgs>()[static_cast<int>(Backend::kCpuAvx512)] = gemm<&cpu_avx512::run>;
  add_rate_probe(Backend::kCpuAvx2, &cpu_avx2::run);
  add_rate_probe(Backend::kCpuAvx512, &cpu_avx512::run);
#endif
}

}  // namespace hf
