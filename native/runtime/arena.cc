#include "runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "runtime/pages.h"

namespace hf {
namespace {

constexpr int64_t kSmallestBlock = 1 << 20;
constexpr int64_t kMostBytes = int64_t{1} << 46;

// HEADFIRST_POISON=1: fresh memory is NaN, so that a read of undefined memory shows. The tests set it.
bool wants_poison() {
  const char* wanted = std::getenv("HEADFIRST_POISON");
  return wanted && *wanted == '1';
}

}  // namespace

Arena::Arena(std::shared_ptr<Device> device)
    : device_(std::move(device)),
      memory_(device_ ? Memory::kDevice : Memory::kHost),
      alignment_(alignment(bool(device_))),
      poisons_(wants_poison()) {}

Arena::Arena(int64_t alignment) : memory_(Memory::kImaginary), alignment_(alignment), poisons_(false) {
  // One block that is never full. Its address is only there not to be null.
  static char nowhere alignas(256);
  blocks_.push_back({.data = &nowhere, .begin = 0, .size = INT64_MAX});
}

Arena::~Arena() {
  free_blocks();
}

void* Arena::allocate(int64_t bytes) {
  HF_CHECK(bytes >= 0 && bytes < kMostBytes, ErrorCode::kOutOfMemory,
           "workspace: %lld bytes requested, which no machine has; shapes this large must be split by the "
           "caller",
           static_cast<long long>(bytes));
  const int64_t rounded = (bytes + alignment_ - 1) / alignment_ * alignment_;
  const int64_t need = std::max(rounded, alignment_);
  const Block& block = block_with_room(need);
  const int64_t position = std::max(used_, block.begin);
  used_ = position + need;
  peak_ = std::max(peak_, used_);
  char* data = block.data + (position - block.begin);
  if (poisons_) poison(data, need);
  return data;
}

// The block that holds position used_, or the first later one with room: positions skipped at a block's end
// stay unused. A new block if there is none.
const Arena::Block& Arena::block_with_room(int64_t bytes) {
  for (const Block& block : blocks_)
    if (std::max(used_, block.begin) + bytes <= end_of(block)) return block;
  const int64_t begin = held_bytes(), size = std::max({bytes, kSmallestBlock, begin / 2});
  char* data = system_allocate(size);
  HF_CHECK(data, ErrorCode::kOutOfMemory,
           "workspace: the system refused %lld bytes (%lld already in use); use a smaller batch",
           static_cast<long long>(size), static_cast<long long>(used_));
  blocks_.push_back({.data = data, .begin = begin, .size = size});
  return blocks_.back();
}

void Arena::release(int64_t mark) noexcept {
  used_ = mark;
  if (used_ != 0 || blocks_.size() < 2) return;
  // Back to empty with several blocks: one of the whole size takes their place.
  const int64_t total = held_bytes();
  free_blocks();
  try {
    if (char* data = system_allocate(total)) blocks_.push_back({.data = data, .begin = 0, .size = total});
  } catch (const Error&) {  // the device refused; the next allocation asks again
  }
}

void Arena::trim() noexcept {
  if (used_ == 0) free_blocks();
}

char* Arena::system_allocate(int64_t bytes) {
  // A device that refuses throws an error of its own, which names its free bytes.
  void* data = memory_ == Memory::kDevice ? device_->allocate(bytes) : allocate_pages(bytes);
  return static_cast<char*>(data);
}

void Arena::free_blocks() noexcept {
  if (memory_ == Memory::kImaginary) return;
  for (const Block& block : blocks_)
    if (memory_ == Memory::kDevice)
      device_->free(block.data);
    else
      free_pages(block.data, block.size);
  blocks_.clear();
}

void Arena::poison(char* data, int64_t bytes) const {
  if (memory_ == Memory::kDevice)
    device_->fill(data, 0xff, bytes);
  else
    std::memset(data, 0xff, static_cast<size_t>(bytes));
}

}  // namespace hf
