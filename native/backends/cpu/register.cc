// Registers the CPU columns that this build has, and chooses among them at run time.
#include <type_traits>

#include "backends/cpu/blas.h"
#include "ops/op_table.h"
#include "ops/rates.h"
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
template <class Args>
void add() {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    op_row<Args>()[static_cast<int>(Backend::kCpuBase)] = static_cast<OpFn<Args>>(&cpu_base::run);
#if HF_HAVE_X86_ISAS
    op_row<Args>()[static_cast<int>(Backend::kCpuAvx2)] = static_cast<OpFn<Args>>(&cpu_avx2::run);
    op_row<Args>()[static_cast<int>(Backend::kCpuAvx512)] = static_cast<OpFn<Args>>(&cpu_avx512::run);
#endif
  }
}

// The op itself may go to a BLAS of the system. Products inside other kernels call run() and stay here.
template <OpFn<GemmArgs> built_in>
void gemm(const GemmArgs& args, Run& run) {
  if (run.counting || !blas_gemm(args, run)) built_in(args, run);
}
}  // namespace

void register_cpu() {
#define HF_OP(op, Forward, Backward, Jvp) add<Forward>(), add<Backward>(), add<Jvp>();
#include "ops/op_list.inc"
#undef HF_OP
  op_row<GemmArgs>()[static_cast<int>(Backend::kCpuBase)] = gemm<&cpu_base::run>;
  rate_probe(Backend::kCpuBase) = static_cast<RateProbeFn>(&cpu_base::run);
#if HF_HAVE_X86_ISAS
  op_row<GemmArgs>()[static_cast<int>(Backend::kCpuAvx2)] = gemm<&cpu_avx2::run>;
  op_row<GemmArgs>()[static_cast<int>(Backend::kCpuAvx512)] = gemm<&cpu_avx512::run>;
  rate_probe(Backend::kCpuAvx2) = static_cast<RateProbeFn>(&cpu_avx2::run);
  rate_probe(Backend::kCpuAvx512) = static_cast<RateProbeFn>(&cpu_avx512::run);
#endif
}

}  // namespace hf
