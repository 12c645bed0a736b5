// Small host arrays on the device, kept by content. One call after another is given the same positions,
// offsets and slots, and each copy to the device costs the host and the stream a few microseconds.
//
// The arrays lie in a ring of device memory, where the oldest make room for new ones. The stream orders the
// copy that writes one array over another behind the kernels that read the old one. What the op in hand has
// been given is not written over.
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

  // Device memory with these bytes, for reading; null when the cache has no room for them.
  void* find(const void* from, int64_t bytes);
  // One lives as long as an op runs. What find() gives out inside the outermost one stays until its end.
  class Use {
   public:
    explicit Use(UploadCache& cache) : cache_(cache) { cache_.enter(); }
    ~Use() { cache_.leave(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    UploadCache& cache_;
  };

 private:
  static constexpr int64_t kBytes = 4 << 20;
  struct Entry {
    uint64_t hash;
    int64_t begin, size, op;
    std::vector<char> content;
  };
  void enter();
  void leave();
  bool make_room(int64_t size);

  Stream& stream_;
  std::mutex mutex_;
  char* memory_ = nullptr;
  bool refused_ = false;       // there was no memory for it
  int64_t next_ = 0;           // where the next array goes
  int64_t op_ = 0;             // counts outermost uses
  int depth_ = 0;              // uses within each other
  std::deque<Entry> entries_;  // oldest first, in the order of their places
  std::unordered_map<uint64_t, Entry*> by_hash_;
};

}  // namespace hf::cuda
