// What a call will take of memory, from the call's own code. On a counting run the engine does all that it
// does to get its memory, and nothing with it: real numbers have imaginary addresses, an op takes the scratch
// memory that it would take (count() in ops/op_table.h), and nothing is computed. Indices are real.
#pragma once

#include "runtime/arena.h"
#include "runtime/context.h"

namespace hf {

class CountingRun {
 public:
  // A run as the context's jobs have it.
  explicit CountingRun(const Context& context);

  Run& run() { return run_; }
  // The most memory at a time since the beginning, as Context::take_arena_peak() gives it for a job.
  int64_t peak_bytes() const { return indices_.peak_bytes() + numbers_.peak_bytes(); }

 private:
  Arena indices_, numbers_;
  Run run_;
};

}  // namespace hf
