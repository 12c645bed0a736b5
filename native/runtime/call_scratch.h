// Scratch memory of synchronous calls, one per calling thread.
#pragma once

#include "runtime/arena.h"
#include "runtime/run.h"

namespace hf {

class CallScratch {
 public:
  // Lends the thread's memory to `run` (and CUDA device 0 to a run on it) until it ends.
  explicit CallScratch(Run& run);
  ~CallScratch();
  CallScratch(const CallScratch&) = delete;
  CallScratch& operator=(const CallScratch&) = delete;
  int64_t peak_bytes() const noexcept;

 private:
  Run& run_;
};

}  // namespace hf
