// A device, its threads, its scratch memory, and one thread of its own that runs submitted jobs in order.
// (Not libuv's pool: its four threads are shared with file and DNS work, which long jobs would starve.)
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "runtime/arena.h"
#include "runtime/buffer.h"
#include "runtime/job.h"
#include "runtime/run.h"
#include "runtime/thread.h"

namespace hf {

struct Job {
  std::shared_ptr<JobControl> control;
  std::function<void(Run&)> work;                      // runs on the context's thread
  std::function<void(std::exception_ptr error)> done;  // called there afterwards; must not throw
};

class Context {
 public:
  Context(Backend backend, int threads, Math math = Math::kExact, std::shared_ptr<Device> device = nullptr);
  ~Context();  // as abandon()

  // Throws ERR_DISPOSED after close().
  void submit(Job job);
  // No new jobs; the queued ones still run.
  void close();
  // Cancels what is queued or running and waits for the thread to end.
  void abandon();

  Backend backend() const noexcept { return backend_; }
  int threads() const noexcept { return threads_; }
  Math math() const noexcept { return math_; }
  const std::shared_ptr<Device>& device() const noexcept { return counter_->device; }
  DType real() const noexcept { return real_type(backend_); }
  DType stored() const noexcept { return stored_type(backend_, math_); }
  const std::shared_ptr<MemoryCounter>& counter() const noexcept { return counter_; }
  // Scratch bytes of the latest jobs, and the most since the last call.
  int64_t arena_bytes() const noexcept { return arena_bytes_.load(std::memory_order_relaxed); }
  int64_t take_arena_peak() noexcept { return arena_peak_.exchange(0, std::memory_order_relaxed); }

 private:
  void loop();
  void run_job(Job& job);

  const Backend backend_;
  const int threads_;
  const Math math_;
  std::shared_ptr<MemoryCounter> counter_ = std::make_shared<MemoryCounter>();
  Arena arena_, device_arena_;
  std::atomic<int64_t> arena_bytes_{0}, arena_peak_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  std::shared_ptr<JobControl> running_;
  bool closed_ = false;
  Thread thread_;  // started by the first job
};

}  // namespace hf
