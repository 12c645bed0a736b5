// A stack of memory for one job at a time: activations and scratch are bumped off it and given back together.
// After the first job of a shape nothing is allocated any more, so memory does not grow over steps. Host
// memory, or a device's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/device.h"

namespace hf {

class Arena {
 public:
  explicit Arena(std::shared_ptr<Device> device = nullptr);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* allocate(int64_t bytes);  // 64-byte aligned (a device's: 256); throws ERR_OUT_OF_MEMORY
  int64_t mark() const noexcept { return used_; }
  void release(int64_t mark) noexcept;
  int64_t peak_bytes() const noexcept { return peak_; }  // since reset_peak()
  int64_t held_bytes() const noexcept {
    return blocks_.empty() ? 0 : blocks_.back().begin + blocks_.back().size;
  }
  void reset_peak() noexcept { peak_ = used_; }
  void trim() noexcept;  // gives unused memory back to the system
  // 0 = no limit. Beyond it allocate() throws and names both sizes.
  void set_limit(int64_t bytes) noexcept { limit_ = bytes; }

 private:
  void* system_allocate(int64_t bytes) noexcept;  // null when refused
  void system_free(void* data, int64_t bytes) noexcept;

  struct Block {
    char* data;
    int64_t begin, size;
  };  // begin = position of the block's first byte in the stack
  const std::shared_ptr<Device> device_;  // null: host memory
  const int64_t alignment_;
  std::vector<Block> blocks_;
  int64_t used_ = 0, peak_ = 0, limit_ = 0;
  bool poison_;  // HEADFIRST_POISON=1: fresh memory is NaN, so a read of undefined memory shows (the tests
                 // set it)
};

}  // namespace hf
