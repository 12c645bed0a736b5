#include "runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "runtime/job.h"
#include "runtime/pages.h"
#include "runtime/run.h"

namespace hf {
namespace {
constexpr int64_t kSmallestBlock = 1 << 20;
}  // namespace

Arena::Arena(std::shared_ptr<Device> device) : device_(std::move(device)), alignment_(device_ ? 256 : 64) {
  const char* poison = std::getenv("HEADFIRST_POISON");
  poison_ = poison && *poison == '1';
}

Arena::~Arena() {
  for (const Block& block : blocks_)
    system_free(block.data, block.size);
}

void* Arena::system_allocate(int64_t bytes) noexcept {
  if (!device_) return allocate_pages(bytes);
  try {
    return device_->allocate(bytes);
  } catch (const Error&) {
    return nullptr;
  }
}
void Arena::system_free(void* data, int64_t bytes) noexcept {
  device_ ? device_->free(data) : free_pages(data, bytes);
}

void* Arena::allocate(int64_t bytes) {
  HF_CHECK(
      bytes >= 0 && bytes < (int64_t{1} << 46), ErrorCode::kOutOfMemory,
      "workspace: %lld bytes requested, which no machine has; shapes this large must be split by the caller",
      static_cast<long long>(bytes));
  const int64_t need = std::max<int64_t>((bytes + alignment_ - 1) / alignment_ * alignment_, alignment_);
  HF_CHECK(limit_ == 0 || used_ + need <= limit_, ErrorCode::kOutOfMemory,
           "workspace: %lld bytes needed, but the limit is %lld; use a smaller batch or raise maxBytes",
           static_cast<long long>(used_ + need), static_cast<long long>(limit_));
  // The block that holds position used_, or the first later one with room: positions skipped at a block's end
  // stay unused.
  size_t index = 0;
  while (index < blocks_.size() &&
         std::max(used_, blocks_[index].begin) + need > blocks_[index].begin + blocks_[index].size)
    ++index;
  if (index == blocks_.size()) {
    const int64_t begin = blocks_.empty() ? 0 : blocks_.back().begin + blocks_.back().size;
    const int64_t size = std::max({need, kSmallestBlock, begin / 2});
    // A device's own error names its free bytes.
    char* data = static_cast<char*>(device_ ? device_->allocate(size) : system_allocate(size));
    HF_CHECK(data, ErrorCode::kOutOfMemory,
             "workspace: the system refused %lld bytes (%lld already in use); use a smaller batch",
             static_cast<long long>(size), static_cast<long long>(used_));
    blocks_.push_back({data, begin, size});
  }
  const Block& block = blocks_[index];
  const int64_t position = std::max(used_, block.begin);
  used_ = position + need;
  peak_ = std::max(peak_, used_);
  char* memory = block.data + (position - block.begin);
  if (poison_)
    device_ ? device_->fill(memory, 0xff, need) : static_cast<void>(std::memset(memory, 0xff, need));
  return memory;
}

void Arena::release(int64_t mark) noexcept {
  used_ = mark;
  // Back to empty with several blocks: replace them by one of the whole size at the next allocation.
  if (used_ == 0 && blocks_.size() > 1) {
    const int64_t total = blocks_.back().begin + blocks_.back().size;
    for (const Block& block : blocks_)
      system_free(block.data, block.size);
    blocks_.clear();
    if (char* data = static_cast<char*>(system_allocate(total))) blocks_.push_back({data, 0, total});
  }
}

void Arena::trim() noexcept {
  if (used_ != 0) return;
  for (const Block& block : blocks_)
    system_free(block.data, block.size);
  blocks_.clear();
}

void* arena_allocate(Run& run, int64_t bytes) {
  return run.arena->allocate(bytes);
}
void* arena_allocate_numbers(Run& run, int64_t bytes) {
  return (run.device ? run.device_arena : run.arena)->allocate(bytes);
}
ArenaMark arena_mark(Run& run) {
  return {run.arena->mark(), run.device ? run.device_arena->mark() : 0};
}
void arena_release(Run& run, ArenaMark mark) {
  run.arena->release(mark.host);
  if (run.device) run.device_arena->release(mark.device);
}

void copy_numbers(Run& run, const View& to, const View& from) {
  copy_memory(run.device, to.data, from.data, from.bytes());
}
void set_zero(Run& run, const View& view) {
  zero_memory(run.device && run.device->owns(view.data) ? run.device : nullptr, view.data, view.bytes());
}
View on_device(Run& run, const View& host) {
  if (!run.device || !host) return host;
  View copy = host;
  copy.data = arena_allocate_numbers(run, host.bytes());
  copy_numbers(run, copy, host);
  return copy;
}

void checkpoint(Run& run) {
  if (run.control) run.control->checkpoint();
}
void report_progress(Run& run, int64_t done, int64_t total) {
  if (run.control) run.control->report(done, total);
}

}  // namespace hf
