// A CUDA device as a context sees it: its memory, one stream of work in order, and its errors.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "backends/cuda/pinned_ring.h"
#include "backends/cuda/platform.h"
#include "backends/cuda/profile.h"
#include "backends/cuda/upload_cache.h"
#include "core/error.h"
#include "runtime/device.h"
#include "runtime/run.h"

namespace hf::cuda {

class Blas;

// Bytes of shared memory that a block may have: those of sm_80, which are fewer than those of sm_90. (sm_86,
// sm_89 and sm_120 have 99 KiB.)
constexpr int kBlockShared = 163 << 10;

class Stream final : public Device {
 public:
  explicit Stream(int index);
  ~Stream() override;

  void* allocate(int64_t bytes) override;
  void free(void* data) noexcept override;
  bool owns(const void* data) const noexcept override;
  void copy(void* to, int64_t to_step, const void* from, int64_t from_step, int64_t bytes,
            int64_t rows) override;
  using Device::copy;
  void fill(void* data, int byte, int64_t bytes) override;
  void synchronize() override;
  std::vector<double> time(int count, const std::function<void()>& body) override;

  // Throws ERR_CUDA unless `error` is success. An error that the device does not recover from is remembered:
  // the device is lost, and says so from then on.
  void check(cudaError_t error, const char* what);
  // The calling thread works on this device from here on. Throws ERR_CUDA when the device is lost.
  void use();
  cudaStream_t handle() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }
  bool hopper() const { return hopper_; }
  Profile* profile() const { return profile_.get(); }  // null: not wanted
  UploadCache& uploads() { return *uploads_; }
  Blas& blas();  // cublas.cu; made on first use

 private:
  const int index_;
  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
  bool hopper_ = false;
  mutable std::mutex mutex_;
  std::map<const char*, int64_t> ranges_;  // begin → bytes of what allocate() gave out
  std::string lost_;
  std::unique_ptr<Profile> profile_;
  std::once_flag ring_made_;
  std::unique_ptr<PinnedRing> ring_;
  std::unique_ptr<UploadCache> uploads_ = std::make_unique<UploadCache>(*this);
  std::shared_ptr<Blas> blas_;
};

inline Stream& stream_of(Run& run) {
  return static_cast<Stream&>(*run.device);
}

// The one way to start a kernel. `name` is for the profile and for errors. Nothing is started for an empty
// grid.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, int block, int shared_bytes, Stream& stream,
            A&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const Timed timed(stream.profile(), name);
  stream.check(start_kernel<P...>(kernel, grid, dim3(static_cast<unsigned>(block)), shared_bytes,
                                  stream.handle(), static_cast<P>(arguments)...),
               name);
}

// Blocks of `size` that cover `count`.
inline unsigned blocks(int64_t count, int64_t size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

// A block of 256 threads may do several short rows. 2 to the power of the result is how many threads share a
// row of `count` numbers, at four numbers each.
inline int share_of_block(int64_t count) {
  int shift = 0;
  while (shift < 8 && (4 << shift) < count)
    ++shift;
  return shift;
}

}  // namespace hf::cuda
