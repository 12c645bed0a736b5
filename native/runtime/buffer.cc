#include "runtime/buffer.h"

#include "core/error.h"
#include "runtime/pages.h"

namespace hf {

std::shared_ptr<Buffer> Buffer::create(int64_t bytes, std::shared_ptr<MemoryCounter> counter) {
  if (bytes >= 0 && counter->device) {
    void* data = counter->device->allocate(bytes > 0 ? bytes : 1);
    const std::shared_ptr<Buffer> buffer(new Buffer(data, bytes, counter));
    counter->device->fill(data, 0, bytes);
    return buffer;
  }
  void* data = bytes >= 0 && bytes < (int64_t{1} << 46) ? allocate_pages(bytes) : nullptr;
  HF_CHECK(data, ErrorCode::kOutOfMemory,
           "the system refused %lld bytes for a tensor; use a smaller model or batch",
           static_cast<long long>(bytes));
  return std::shared_ptr<Buffer>(new Buffer(data, bytes, std::move(counter)));
}

Buffer::Buffer(void* data, int64_t bytes, std::shared_ptr<MemoryCounter> counter)
    : data_(data), bytes_(bytes), counter_(std::move(counter)) {
  counter_->buffers.fetch_add(1, std::memory_order_relaxed);
  counter_->bytes.fetch_add(bytes_, std::memory_order_relaxed);
}

Buffer::~Buffer() {
  if (counter_->device)
    counter_->device->free(data_);
  else
    free_pages(data_, bytes_);
  counter_->buffers.fetch_sub(1, std::memory_order_relaxed);
  counter_->bytes.fetch_sub(bytes_, std::memory_order_relaxed);
}

}  // namespace hf
