// Page-locked memory through which small host arrays go to the device, so that a copy takes a few
// microseconds of the host's time and waits for nothing. It has two halves: one is written while copies out
// of the other may be under way, and a half is written again once those out of it are done.
#pragma once

#include <stdint.h>

#include <mutex>

#include "backends/cuda/platform.h"

namespace hf::cuda {

class Stream;

class PinnedRing {
 public:
  static constexpr int64_t kLargest = 64 << 10;  // of one copy

  explicit PinnedRing(Stream& stream);
  ~PinnedRing();
  PinnedRing(const PinnedRing&) = delete;
  PinnedRing& operator=(const PinnedRing&) = delete;

  // Copies in the order of the stream's work. `from` may be reused on return. Any thread may call it.
  void upload(void* to, const void* from, int64_t bytes);

 private:
  static constexpr int64_t kHalf = 2 << 20;

  Stream& stream_;
  std::mutex mutex_;
  void* memory_ = nullptr;
  cudaEvent_t read_[2] = {};  // the copies out of a half are done
  int half_ = 0;
  int64_t used_ = 0;
};

}  // namespace hf::cuda
