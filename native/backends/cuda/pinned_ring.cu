#include "backends/cuda/pinned_ring.h"

#include <cstring>

#include "backends/cuda/stream.h"

namespace hf::cuda {

PinnedRing::PinnedRing(Stream& stream) : stream_(stream) {
  stream_.check(cudaHostAlloc(&memory_, 2 * kHalf, cudaHostAllocDefault), "cudaHostAlloc");
  for (cudaEvent_t& event : read_)
    stream_.check(cudaEventCreate(&event), "cudaEventCreate");
}

PinnedRing::~PinnedRing() {
  for (cudaEvent_t event : read_)
    if (event) cudaEventDestroy(event);
  cudaFreeHost(memory_);  // waits for copies out of it
}

void PinnedRing::upload(void* to, const void* from, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (used_ + bytes > kHalf) {
    stream_.check(cudaEventRecord(read_[half_], stream_.handle()), "cudaEventRecord");
    half_ ^= 1;
    used_ = 0;
    // Returns at once where the event was never recorded.
    stream_.check(cudaEventSynchronize(read_[half_]), "cudaEventSynchronize");
  }
  char* piece = static_cast<char*>(memory_) + half_ * kHalf + used_;
  std::memcpy(piece, from, static_cast<size_t>(bytes));
  stream_.check(cudaMemcpyAsync(to, piece, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_.handle()),
                "cudaMemcpyAsync");
  used_ += (bytes + 63) / 64 * 64;
}

}  // namespace hf::cuda
