// The op table: for every args type, one function per backend. Engine code calls dispatch(args, run) and
// knows no backend.
#pragma once

#include "core/fail.h"
#include "ops/all.h"
#include "ops/validate.h"
#include "runtime/run.h"

namespace hf {

const char* backend_name(Backend backend);

template <class Args>
using OpFn = void (*)(const Args&, Run&);

// The row of Args; entries are null where a backend does not implement it. Filled once by register_all().
template <class Args>
OpFn<Args>* op_row() {
  static OpFn<Args> row[kBackendCount] = {};
  return row;
}

// Fills the table; idempotent, called by whoever creates a context. Plain calls, no static initialisers:
// linkers drop those.
void register_all();
void register_reference();
void register_cpu();
void register_cuda();  // nothing where it is not built

// HEADFIRST_VALIDATE=1 makes the engine check its own calls too (the tests set it); callers from outside are
// always checked.
bool validate_internal_calls();

// Less work than waking other threads and meeting them again costs (about 10 µs of it), judged by shapes
// alone. Decoding is made of such ops.
inline bool is_small(const Cost& c) {
  return c.flops < 5e5 && c.bytes < 2.5e5;
}

// One thread for as long as this lives, if asked for.
struct OneThread {
  Run& run;
  const int32_t threads;
  OneThread(Run& r, bool wanted) : run(r), threads(r.threads) {
    if (wanted) run.threads = 1;
  }
  ~OneThread() { run.threads = threads; }
};

// An op whose kernels on the CPU take scratch memory says so (kTakesScratch). On a counting run such a kernel
// takes that memory and returns. A device's kernels are counted as those of the CPU; the reference takes
// none.
template <class Args>
void count_scratch(const Args& args, const Run& run) {
  if constexpr (requires { Args::kTakesScratch; }) {
    const bool reference = run.backend == Backend::kReference32 || run.backend == Backend::kReference64;
    if (reference) return;
    const Backend column = run.backend == Backend::kCuda ? Backend::kCpuBase : run.backend;
    Run kernel = run;
    kernel.arena = run.counting;
    if (is_small(cost(args))) kernel.threads = 1;
    op_row<Args>()[static_cast<int>(column)](args, kernel);
  }
}

template <class Args>
void dispatch(const Args& args, Run& run) {
  if (run.counting) return count_scratch(args, run);
  OpFn<Args> fn = op_row<Args>()[static_cast<int>(run.backend)];
  HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName,
           backend_name(run.backend));
  if (validate_internal_calls()) validate(args, run, /*check_overlap=*/false);
  const OneThread small(run, run.threads > 1 && is_small(cost(args)));
  fn(args, run);
}

}  // namespace hf
