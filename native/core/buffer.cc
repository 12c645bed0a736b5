#include "core/buffer.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"

namespace hf {

std::shared_ptr<Buffer> Buffer::create(int64_t bytes, std::shared_ptr<MemoryCounter> counter) {
  constexpr int64_t kAlignment = 64;
  // calloc takes fresh pages from the system, which are zero and cost nothing until they are written.
  void* memory = bytes >= 0 && bytes < (int64_t{1} << 46) ? std::calloc(1, static_cast<size_t>(bytes + kAlignment)) : nullptr;
  HF_CHECK(memory, ErrorCode::kOutOfMemory, "the system refused %lld bytes for a tensor; use a smaller model or batch", static_cast<long long>(bytes));
  return std::shared_ptr<Buffer>(new Buffer(memory, kAlignment, bytes, std::move(counter)));
}

Buffer::Buffer(void* memory, int64_t alignment, int64_t bytes, std::shared_ptr<MemoryCounter> counter)
    : memory_(memory), bytes_(bytes), counter_(std::move(counter)) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory), step = static_cast<uintptr_t>(alignment);
  data_ = reinterpret_cast<void*>((address + step - 1) / step * step);
  counter_->buffers.fetch_add(1, std::memory_order_relaxed);
  counter_->bytes.fetch_add(bytes_, std::memory_order_relaxed);
}

Buffer::~Buffer() {
  std::free(memory_);
  counter_->buffers.fetch_sub(1, std::memory_order_relaxed);
  counter_->bytes.fetch_sub(bytes_, std::memory_order_relaxed);
}

}  // namespace hf
