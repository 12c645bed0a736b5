// Memory that outlives a job: parameters, gradients, optimizer state, results. Shared by reference: a job
// that uses a buffer keeps it alive whatever JavaScript disposes meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/view.h"
#include "runtime/device.h"

namespace hf {

// Where a context's buffers live, and how many there are (for memory() and for leak tests).
struct MemoryCounter {
  std::shared_ptr<Device> device;  // null: host memory
  std::atomic<int64_t> buffers{0}, bytes{0};
};

class Buffer {
 public:
  // Zero-filled, 64-byte aligned; host code must not touch a device's. Throws ERR_OUT_OF_MEMORY naming the
  // bytes.
  static std::shared_ptr<Buffer> create(int64_t bytes, std::shared_ptr<MemoryCounter> counter);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const noexcept { return data_; }
  int64_t bytes() const noexcept { return bytes_; }

 private:
  Buffer(void* data, int64_t bytes, std::shared_ptr<MemoryCounter> counter);
  void* data_;
  int64_t bytes_;
  std::shared_ptr<MemoryCounter> counter_;
};

// A contiguous view and the buffer that owns its numbers.
struct Tensor {
  std::shared_ptr<Buffer> buffer;
  View view;

  template <class... Dims>
  static Tensor create(const std::shared_ptr<MemoryCounter>& counter, DType dtype, Dims... dims) {
    Tensor t;
    t.view = make_view(nullptr, dtype, dims...);
    t.buffer = Buffer::create(t.view.bytes(), counter);
    t.view.data = t.buffer->data();
    return t;
  }
};

}  // namespace hf
