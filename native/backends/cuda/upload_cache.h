// Small host arrays on the device, kept by content: one call after another is given the same positions,
// offsets and slots, and a copy to the device costs the host and the stream a few microseconds each. A ring
// of device memory whose oldest arrays make room for new ones. Writing one over another is ordered behind the
// kernels that read it by the stream; what the op in hand has been given stays.
#pragma once

#include <stdint.h>

#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "backends/cuda/pinned_ring.h"

namespace hf::cuda {

class UploadCache {
 public:
  static constexpr int64_t kLargest = PinnedRing::kLargest;

  explicit UploadCache(Stream& stream) : stream_(stream) {}
  ~UploadCache();
  UploadCache(const UploadCache&) = delete;
  UploadCache& operator=(const UploadCache&) = delete;

  // Device memory with these bytes, for reading; null when it has no room for them.
  void* find(const void* from, int64_t bytes);
  // Around every op: what find() gives out inside the outermost pair stays until its end.
  void enter();
  void leave();

 private:
  static constexpr int64_t kBytes = 4 << 20;
  struct Entry {
    uint64_t hash;
    int64_t begin, size, op;
    std::vector<char> content;
  };
  bool make_room(int64_t size);

  Stream& stream_;
  std::mutex mutex_;
  char* memory_ = nullptr;
  bool refused_ = false;  // there was no memory for it
  int64_t next_ = 0, op_ = 0;
  int depth_ = 0;
  std::deque<Entry> entries_;  // oldest first, in the order of their places
  std::unordered_map<uint64_t, Entry*> by_hash_;
};

}  // namespace hf::cuda
