// The op table: for every args type, one function per backend. Engine code calls dispatch(args, run) and
// knows no backend. Which ops there are: op_list.inc.
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

// Bytes of scratch memory that an op takes from its run's arena while it runs.
template <class Args>
using ScratchFn = int64_t (*)(const Args&, const Run&);

// The row of Args; entries are null where a backend takes none, and for backends whose kernels are not
// counted (the reference, a device). Filled by register_all(), too.
template <class Args>
ScratchFn<Args>* scratch_row() {
  static ScratchFn<Args> row[kBackendCount] = {};
  return row;
}

// What a call would take. Shapes are read, and the index arrays that decide on sizes (offsets, positions); no
// real numbers. A device's kernels are taken to need as much as the CPU's.
template <class Args>
int64_t scratch_bytes(const Args& args, const Run& run) {
  const Backend counted = run.backend == Backend::kCuda ? Backend::kCpuBase : run.backend;
  const ScratchFn<Args> fn = scratch_row<Args>()[static_cast<int>(counted)];
  return fn ? fn(args, run) : 0;
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
class OneThread {
 public:
  OneThread(Run& run, bool wanted) : run_(run), threads_(run.threads) {
    if (wanted) run_.threads = 1;
  }
  ~OneThread() { run_.threads = threads_; }

 private:
  Run& run_;
  const int32_t threads_;
};

// A counting run's dispatch: the op takes the scratch memory that it would take, and does nothing else.
template <class Args>
void count(const Args& args, Run& run) {
  Scratch scratch(run);
  const OneThread small(run, run.threads > 1 && is_small(cost(args)));
  const int64_t bytes = scratch_bytes(args, run);
  if (bytes > 0) arena_allocate_numbers(run, bytes);
}

template <class Args>
void dispatch(const Args& args, Run& run) {
  if (run.counting) return count(args, run);
  OpFn<Args> fn = op_row<Args>()[static_cast<int>(run.backend)];
  HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName,
           backend_name(run.backend));
  if (validate_internal_calls()) validate(args, run, /*check_overlap=*/false);
  const OneThread small(run, run.threads > 1 && is_small(cost(args)));
  fn(args, run);
}

}  // namespace hf
