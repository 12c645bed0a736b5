#include "backends/cuda/upload_cache.h"

#include <algorithm>
#include <cstring>

#include "backends/cuda/stream.h"

namespace hf::cuda {
namespace {

// Four chains beside each other, because one alone would wait for its multiplication.
uint64_t hash_of(const void* data, int64_t bytes) {
  constexpr int64_t kChains = 4, kWord = 8;
  const char* p = static_cast<const char*>(data);
  uint64_t hash[kChains] = {0x9e3779b97f4a7c15ull ^ uint64_t(bytes), 0xbf58476d1ce4e5b9ull,
                            0x94d049bb133111ebull, 0xd6e8feb86659fd93ull};
  const auto mix = [&](int64_t chain, uint64_t word) {
    hash[chain] = (hash[chain] ^ word) * 0xff51afd7ed558ccdull;
    hash[chain] ^= hash[chain] >> 32;
  };
  int64_t i = 0;
  for (; i + kChains * kWord <= bytes; i += kChains * kWord)
    for (int64_t chain = 0; chain < kChains; ++chain) {
      uint64_t word;
      std::memcpy(&word, p + i + chain * kWord, kWord);
      mix(chain, word);
    }
  for (; i < bytes; i += kWord) {
    uint64_t word = 0;
    std::memcpy(&word, p + i, size_t(std::min(bytes - i, kWord)));
    mix(0, word);
  }
  for (int64_t chain = 1; chain < kChains; ++chain)
    mix(0, hash[chain]);
  return hash[0];
}

}  // namespace

UploadCache::~UploadCache() {
  stream_.free(memory_);
}

void UploadCache::enter() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (depth_++ == 0) ++op_;
}
void UploadCache::leave() {
  std::lock_guard<std::mutex> lock(mutex_);
  --depth_;
}

// Drops arrays until [next_, next_ + size) is free; false when one of them belongs to the op in hand.
bool UploadCache::make_room(int64_t size) {
  const auto drop = [&](const auto& in_the_way) {
    while (!entries_.empty() && in_the_way(entries_.front())) {
      if (entries_.front().op == op_) return false;
      by_hash_.erase(entries_.front().hash);
      entries_.pop_front();
    }
    return true;
  };
  if (next_ + size > kBytes) {
    if (!drop([&](const Entry& e) { return e.begin >= next_; })) return false;
    next_ = 0;
  }
  return drop([&](const Entry& e) { return e.begin >= next_ && e.begin < next_ + size; });
}

void* UploadCache::find(const void* from, int64_t bytes) {
  if (bytes > kLargest) return nullptr;
  std::lock_guard<std::mutex> lock(mutex_);
  if (refused_) return nullptr;
  if (!memory_) {
    try {
      memory_ = static_cast<char*>(stream_.allocate(kBytes));
    } catch (const Error&) {
      refused_ = true;
      return nullptr;
    }
  }
  const uint64_t hash = hash_of(from, bytes);
  if (const auto found = by_hash_.find(hash); found != by_hash_.end()) {
    Entry& entry = *found->second;
    const bool same_length = int64_t(entry.content.size()) == bytes;
    if (!same_length || std::memcmp(entry.content.data(), from, size_t(bytes)) != 0) return nullptr;
    entry.op = op_;
    return memory_ + entry.begin;
  }
  const int64_t size = (bytes + 255) / 256 * 256;
  if (!make_room(size)) return nullptr;
  stream_.copy(memory_ + next_, from, bytes);
  const char* p = static_cast<const char*>(from);
  Entry& entry = entries_.emplace_back(Entry{hash, next_, size, op_, std::vector<char>(p, p + bytes)});
  by_hash_[hash] = &entry;
  next_ += size;
  return memory_ + entry.begin;
}

}  // namespace hf::cuda
