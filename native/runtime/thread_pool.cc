// One lazily started, process-wide pool behind run_tasks(). No OpenMP: it would keep a team per calling
// thread and leak them with worker_threads. Each thread has its share of a job's tasks, always the same one,
// so that what an op left in a processor's cache the next op finds there; who is done takes from the others.
// A task's result never depends on who runs it.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/run.h"
#include "runtime/thread.h"

namespace hf {
namespace {

// 50 to 200 us, as a pause goes: longer than the gap between two ops of a step, shorter than anyone notices.
constexpr int kSpins = 4000;

// A task that asks for more tasks does them itself.
thread_local bool inside_task = false;

class ThreadPool {
 public:
  // Never destroyed: joining threads in a static destructor deadlocks when a worker_thread's environment
  // unloads last.
  static ThreadPool& instance() {
    static ThreadPool* pool = new ThreadPool;
    return *pool;
  }

  void run(int threads, int64_t tasks, void (*fn)(void*, int64_t), void* context) {
    std::unique_lock<std::mutex> owner(owner_, std::defer_lock);
    if (inside_task || !owner.try_lock()) {
      // The pool is busy, perhaps with another context: the work is done here.
      for (int64_t task = 0; task < tasks; ++task)
        fn(context, task);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const int helpers = static_cast<int>(std::min<int64_t>(threads, tasks)) - 1;
      for (; workers_ < helpers; ++workers_) {
        Thread worker;
        worker.start([this, id = workers_] { work(id); });
        worker.detach();
      }
      fn_ = fn;
      context_ = context;
      error_ = nullptr;
      team_ = helpers + 1;
      if (static_cast<int>(shares_.size()) < team_) shares_.resize(team_);
      for (int member = 0; member < team_; ++member) {
        shares_[member].next.store(tasks * member / team_, std::memory_order_relaxed);
        shares_[member].end = tasks * (member + 1) / team_;
      }
      helpers_ = helpers;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    drain(0);
    {
      // Whoever has not woken by now is not waited for: on a busy machine that could take longer than the
      // work.
      std::lock_guard<std::mutex> lock(mutex_);
      helpers_ = 0;
    }
    for (int spin = 0; active_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < kSpins)
        pause();
      else
        std::this_thread::yield();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  // Tasks [next, end) of a job.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  void drain(int member) {
    inside_task = true;
    for (int turn = 0; turn < team_; ++turn) {
      Share& share = shares_[(member + turn) % team_];
      for (int64_t task; (task = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
        try {
          fn_(context_, task);
        } catch (...) {
          std::lock_guard<std::mutex> lock(error_mutex_);
          if (!error_) error_ = std::current_exception();
          for (int i = 0; i < team_; ++i)
            shares_[i].next.store(shares_[i].end, std::memory_order_relaxed);
        }
      }
    }
    inside_task = false;
  }

  void work(int id) {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin)
        pause();
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
        seen = generation_.load(std::memory_order_relaxed);
        if (id >= helpers_) continue;
        active_.fetch_add(1, std::memory_order_relaxed);
      }
      drain(id + 1);
      active_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex owner_, mutex_, error_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::deque<Share> shares_;    // one for each member of the team, the caller's first
  std::atomic<int> active_{0};  // workers on the present job; grows under mutex_ while helpers_ lets them in
  int workers_ = 0, helpers_ = 0, team_ = 1;
  void (*fn_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
};

}  // namespace

void run_tasks(Run& run, int64_t tasks, void (*fn)(void* context, int64_t task), void* context) {
  ThreadPool::instance().run(run.threads, tasks, fn, context);
}

}  // namespace hf
