// std::thread with a stack that holds the kernels' tiles (native/ops/linear/cpu/gemm.cc: 0.7 MiB) on every
// system: macOS gives threads 512 KiB, musl 128.
#pragma once

#include <pthread.h>

#include <functional>
#include <memory>

#include "core/error.h"

namespace hf {

class Thread {
 public:
  Thread() = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  bool joinable() const { return joinable_; }
  void join() {
    pthread_join(handle_, nullptr);
    joinable_ = false;
  }
  void detach() {
    pthread_detach(handle_);
    joinable_ = false;
  }

  void start(std::function<void()> body) {
    constexpr size_t kStack = size_t{8} << 20;  // address space; what is not used costs nothing
    auto held = std::make_unique<std::function<void()>>(std::move(body));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStack);
    const int problem = pthread_create(&handle_, &attributes, [](void* given) -> void* {
      const std::unique_ptr<std::function<void()>> own(static_cast<std::function<void()>*>(given));
      (*own)();
      return nullptr;
    }, held.get());
    pthread_attr_destroy(&attributes);
    HF_CHECK(problem == 0, ErrorCode::kOutOfMemory,
             "the system starts no more threads (error %d); use fewer contexts or a smaller 'threads'",
             problem);
    (void)held.release();  // the new thread owns it
    joinable_ = true;
  }

 private:
  pthread_t handle_{};
  bool joinable_ = false;
};

}  // namespace hf
