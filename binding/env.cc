#include "env.h"

#include <new>

namespace hf::binding {

Napi::Error to_js_error(Napi::Env env, ErrorCode code, const std::string& message) {
  Napi::Error error = [&]() -> Napi::Error {
    switch (code) {
      case ErrorCode::kInvalidArg:
      case ErrorCode::kDtype: return Napi::TypeError::New(env, message);
      case ErrorCode::kShape:
      case ErrorCode::kOutOfMemory: return Napi::RangeError::New(env, message);
      default: return Napi::Error::New(env, message);
    }
  }();
  error.Set("code", Napi::String::New(env, error_code_name(code)));
  return error;
}

Napi::Value undefined(Napi::Env env) {
  return env.Undefined();
}

void adjust_memory(Napi::Env env, int64_t bytes) {
  int64_t total;
  napi_adjust_external_memory(env, bytes, &total);
}

namespace {

Napi::Error rejection(Napi::Env env, std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return to_js_error(env, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return to_js_error(env, ErrorCode::kOutOfMemory, "out of memory; use a smaller batch");
  } catch (const std::exception& e) {
    return Napi::Error::New(env, std::string("internal error: ") + e.what());
  }
}

void call_posted(napi_env env, napi_value, void*, void* data) {
  std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(data));
  if (!env) return;  // the environment is being torn down
  Napi::HandleScope scope(env);
  (*body)();
}

}  // namespace

EnvData::EnvData(Napi::Env env) : env_(env) {
  napi_value name;
  napi_create_string_utf8(env, "headfirst", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr,
                                      call_posted, &deliver_) != napi_ok)
    throw Napi::Error::New(env, "headfirst: the event loop refused a thread-safe function");
  napi_unref_threadsafe_function(env, deliver_);
  // Hooks run in reverse order of registration: before the thread-safe function's own, so that no thread
  // posts to it afterwards.
  env.AddCleanupHook([this] { shut_down(); });
}

void EnvData::shut_down() {
  if (!open_) return;
  open_ = false;
  for (const std::weak_ptr<Context>& weak : contexts_)
    if (const std::shared_ptr<Context> context = weak.lock()) context->abandon();
  pending_.clear();
}

void EnvData::add(const std::shared_ptr<Context>& context) {
  std::erase_if(contexts_, [](const std::weak_ptr<Context>& weak) { return weak.expired(); });
  contexts_.push_back(context);
}

void EnvData::post(std::function<void()> body) {
  auto* heap = new std::function<void()>(std::move(body));
  if (napi_call_threadsafe_function(deliver_, heap, napi_tsfn_nonblocking) != napi_ok) delete heap;
}

void EnvData::check_free(const char* op, const std::vector<Lease::Range>& ranges) const {
  for (const auto& [id, pending] : pending_) {
    if (!pending.lease) continue;
    for (const Lease::Range& held : pending.lease->ranges)
      for (const Lease::Range& range : ranges)
        HF_CHECK(
            !(held.write || range.write) || held.end <= range.begin || range.end <= held.begin,
            ErrorCode::kBusy,
            "%s: %s is being %s by a pending job of %s; await that job first, or give this call memory of its own",
            op, range.name, held.write ? "written" : "read", pending.lease->op);
  }
}

Napi::Value EnvData::submit(const std::shared_ptr<Context>& context, Napi::Value progress, Work work,
                            std::shared_ptr<Lease> lease) {
  const uint64_t id = next_id_++;
  const auto control = std::make_shared<JobControl>();
  Pending pending{
      .deferred = Napi::Promise::Deferred::New(env_),
      .progress = {},
      .control = control,
      .lease = lease,
      .context = context,
  };
  if (progress.IsFunction()) {
    pending.progress = Napi::Persistent(progress.As<Napi::Function>());
    const auto latest = std::make_shared<Progress>();
    control->on_progress = [this, id, latest](int64_t done, int64_t total) {
      latest->done.store(done, std::memory_order_relaxed);
      latest->total.store(total, std::memory_order_relaxed);
      if (!latest->queued.exchange(true)) post([this, id, latest] { report(id, *latest); });
    };
  }
  const auto convert = std::make_shared<Convert>();
  context->submit(Job{
      .control = control,
      .work = [work = std::move(work), convert](Run& run) { *convert = work(run); },
      .done =
          [this, id, convert](std::exception_ptr error) {
    post([this, id, convert, error] { settle(id, error, *convert); });
  },
  });

  // The process stays alive while a job is pending.
  if (pending_.empty()) napi_ref_threadsafe_function(env_, deliver_);
  const auto cancel = [control](const Napi::CallbackInfo&) { control->cancel(); };
  Napi::Object result = Napi::Object::New(env_);
  result.Set("promise", pending.deferred.Promise());
  result.Set("cancel", Napi::Function::New(env_, cancel));
  leases_ += bool(lease);
  pending_.emplace(id, std::move(pending));
  return result;
}

void EnvData::report(uint64_t id, Progress& progress) {
  progress.queued.store(false);
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const double done = double(progress.done.load(std::memory_order_relaxed));
  const double total = double(progress.total.load(std::memory_order_relaxed));
  try {
    found->second.progress.Call({Napi::Number::New(env_, done), Napi::Number::New(env_, total)});
  } catch (const Napi::Error&) {
    // A progress callback that throws must not take the job down with it.
  }
}

void EnvData::settle(uint64_t id, std::exception_ptr error, const Convert& convert) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  Pending pending = std::move(found->second);
  pending_.erase(found);
  leases_ -= bool(pending.lease);
  if (pending_.empty()) napi_unref_threadsafe_function(env_, deliver_);
  if (error) {
    pending.deferred.Reject(rejection(env_, error).Value());
    return;
  }
  try {
    pending.deferred.Resolve(convert(env_));
  } catch (const Napi::Error& e) {
    pending.deferred.Reject(e.Value());
  } catch (...) {
    pending.deferred.Reject(rejection(env_, std::current_exception()).Value());
  }
}

}  // namespace hf::binding
