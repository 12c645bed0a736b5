// A stack of memory for one job at a time: activations and scratch are bumped off it and given back together.
// After the first job of a shape nothing is allocated any more, so memory does not grow over steps.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/device.h"

namespace hf {

class Arena {
 public:
  // Of a device's memory, or of the host's without one.
  explicit Arena(std::shared_ptr<Device> device = nullptr);
  // An arena that only counts: its addresses are imaginary, and nothing may be read or written there.
  static Arena counting(int64_t alignment) { return Arena(alignment); }
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Aligned to alignment() bytes; throws ERR_OUT_OF_MEMORY.
  void* allocate(int64_t bytes);
  int64_t mark() const noexcept { return used_; }
  void release(int64_t mark) noexcept;
  int64_t peak_bytes() const noexcept { return peak_; }  // since reset_peak()
  void reset_peak() noexcept { peak_ = used_; }
  int64_t held_bytes() const noexcept { return blocks_.empty() ? 0 : end_of(blocks_.back()); }
  void trim() noexcept;  // gives unused memory back to the system
  static int64_t alignment(bool on_device) { return on_device ? 256 : 64; }

 private:
  enum class Memory { kHost, kDevice, kImaginary };
  struct Block {
    char* data;
    int64_t begin;  // position of the block's first byte in the stack
    int64_t size;
  };

  explicit Arena(int64_t alignment);
  static int64_t end_of(const Block& block) { return block.begin + block.size; }
  const Block& block_with_room(int64_t bytes);
  char* system_allocate(int64_t bytes);  // null when the host's system refuses
  void free_blocks() noexcept;
  void poison(char* data, int64_t bytes) const;

  const std::shared_ptr<Device> device_;
  const Memory memory_;
  const int64_t alignment_;
  const bool poisons_;
  std::vector<Block> blocks_;
  int64_t used_ = 0, peak_ = 0;
};

}  // namespace hf
