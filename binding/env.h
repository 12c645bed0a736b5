// Shared by the binding's files: errors across the boundary, jobs and their promises, and what one JavaScript
// environment (main thread or worker) owns. Nothing here is process-wide: worker_threads load the addon again
// in the same process.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "runtime/context.h"

namespace hf::binding {

// hf::Error → TypeError (argument, dtype), RangeError (shape, memory) or Error, with `.code`.
Napi::Error to_js_error(Napi::Env env, ErrorCode code, const std::string& message);

// Runs `body` and turns every C++ exception into a JavaScript one; nothing may unwind into Node.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js_error(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js_error(env, ErrorCode::kOutOfMemory, "out of memory; use a smaller batch");
  }
}

// Makes the JavaScript value of a finished job; runs on the JavaScript thread.
using Convert = std::function<Napi::Value(Napi::Env)>;
// A job's work, on its context's thread.
using Work = std::function<Convert(Run&)>;
// The conversion of jobs that have no result.
Napi::Value undefined(Napi::Env env);
// Tells the collector how much native memory a handle holds.
void adjust_memory(Napi::Env env, int64_t bytes);

// Memory of typed arrays that a pending job reads or writes. While it is pending nobody else may write what
// it reads, or touch what it writes; the arrays stay alive with it. Lives and dies on the JavaScript thread.
struct Lease {
  struct Range {
    const char* name;
    const char* begin;
    const char* end;
    bool write;
  };
  const char* op;
  std::vector<Range> ranges;
  Napi::ObjectReference keep;
};

class EnvData {
 public:
  explicit EnvData(Napi::Env env);
  ~EnvData() { shut_down(); }
  static EnvData& of(Napi::Env env) { return *env.GetInstanceData<EnvData>(); }

  // Queues work and returns { promise, cancel }. `progress` is a function (done, total) or undefined.
  Napi::Value submit(const std::shared_ptr<Context>& context, Napi::Value progress, Work work,
                     std::shared_ptr<Lease> lease = nullptr);
  bool leased() const { return leases_ > 0; }
  // ERR_BUSY when a pending job holds any of it.
  void check_free(const char* op, const std::vector<Lease::Range>& ranges) const;
  void add(const std::shared_ptr<Context>& context);

  // The constructors of handles that jobs make.
  Napi::FunctionReference tensor, model;

 private:
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::FunctionReference progress;
    std::shared_ptr<JobControl> control;
    std::shared_ptr<Lease> lease;
    // Held so that a context's last owner is never its own thread, which could not join itself.
    std::shared_ptr<Context> context;
  };
  // The latest progress of a job; the context's thread writes, the JavaScript thread reads.
  struct Progress {
    std::atomic<int64_t> done{0}, total{0};
    std::atomic<bool> queued{false};
  };
  void settle(uint64_t id, std::exception_ptr error, const Convert& convert);
  void report(uint64_t id, Progress& progress);
  void post(std::function<void()> body);
  void shut_down();

  Napi::Env env_;
  napi_threadsafe_function deliver_ = nullptr;
  std::unordered_map<uint64_t, Pending> pending_;
  std::vector<std::weak_ptr<Context>> contexts_;
  uint64_t next_id_ = 0;
  int64_t leases_ = 0;
  bool open_ = true;
};

}  // namespace hf::binding
