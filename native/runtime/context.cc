#include "runtime/context.h"

namespace hf {

Context::Context(Backend backend, int threads, Math math, std::shared_ptr<Device> device)
    : backend_(backend), threads_(threads), math_(math), device_arena_(device) {
  counter_->device = std::move(device);
}

Context::~Context() {
  abandon();
}

void Context::submit(Job job) {
  std::lock_guard<std::mutex> lock(mutex_);
  HF_CHECK(!closed_, ErrorCode::kDisposed, "the context was disposed; make a new one with createContext()");
  // The thread first: if the system has none for it, the job is refused, not kept.
  if (!thread_.joinable()) thread_.start([this] { loop(); });
  queue_.push_back(std::move(job));
  wake_.notify_one();
}

void Context::close() {
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  wake_.notify_one();
}

void Context::abandon() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    for (Job& job : queue_)
      job.control->cancel();
    if (running_) running_->cancel();
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Context::loop() {
  for (;;) {
    Job job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      running_ = nullptr;
      wake_.wait(lock, [this] { return !queue_.empty() || closed_; });
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      running_ = job.control;
    }
    run_job(job);
  }
}

void Context::run_job(Job& job) {
  Run run;
  run.backend = backend_;
  run.threads = threads_;
  run.math = math_;
  run.arena = &arena_;
  run.device = device().get();
  run.device_arena = &device_arena_;
  run.control = job.control.get();
  std::exception_ptr error;
  arena_.reset_peak();
  device_arena_.reset_peak();
  try {
    job.control->checkpoint();
    job.work(run);
    if (run.device) run.device->synchronize();  // what went wrong on the device belongs to this job
  } catch (...) {
    error = std::current_exception();
  }
  job.work = nullptr;  // lets go of what the job held before anyone hears that it is done
  arena_.release(0);
  device_arena_.release(0);
  const int64_t peak = arena_.peak_bytes() + device_arena_.peak_bytes();
  arena_bytes_.store(arena_.held_bytes() + device_arena_.held_bytes(), std::memory_order_relaxed);
  if (peak > arena_peak_.load(std::memory_order_relaxed)) arena_peak_.store(peak, std::memory_order_relaxed);
  job.done(error);
}

}  // namespace hf
