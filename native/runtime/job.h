// Cancellation and progress of one job, shared between the thread that runs it and the one that asked for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "core/error.h"

namespace hf {

class JobControl {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }
  void checkpoint() const {
    if (cancelled()) throw Error(ErrorCode::kAborted, "the job was cancelled");
  }
  // Called on the job's thread; must be cheap and must not throw.
  std::function<void(int64_t done, int64_t total)> on_progress;
  void report(int64_t done, int64_t total) const {
    if (on_progress) on_progress(done, total);
  }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace hf
