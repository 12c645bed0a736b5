#include "core/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace hf {

std::shared_ptr<Buffer> Buffer::create(int64_t bytes, std::shared_ptr<MemoryCounter> counter) {
  constexpr int64_t kAlignment = 64;
  const int64_t size = std::max<int64_t>((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  void* data = bytes >= 0 && bytes < (int64_t{1} << 46) ? std::aligned_alloc(kAlignment, static_cast<size_t>(size)) : nullptr;
  HF_CHECK(data, ErrorCode::kOutOfMemory, "the system refused %lld bytes for a tensor; use a smaller model or batch", static_cast<long long>(bytes));
  std::memset(data, 0, static_cast<size_t>(size));
  return std::shared_ptr<Buffer>(new Buffer(data, bytes, std::move(counter)));
}

Buffer::Buffer(void* data, int64_t bytes, std::shared_ptr<MemoryCounter> counter) : data_(data), bytes_(bytes), counter_(std::move(counter)) {
  counter_->buffers.fetch_add(1, std::memory_order_relaxed);
  counter_->bytes.fetch_add(bytes_, std::memory_order_relaxed);
}

Buffer::~Buffer() {
  std::free(data_);
  counter_->buffers.fetch_sub(1, std::memory_order_relaxed);
  counter_->bytes.fetch_sub(bytes_, std::memory_order_relaxed);
}

}  // namespace hf
