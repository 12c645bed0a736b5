// Memory and work of a device that is not the host. Contexts on the CPU have none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace hf {

class Device {
 public:
  virtual ~Device() = default;

  // ERR_OUT_OF_MEMORY names the bytes asked for and the bytes that were free; the device stays usable.
  // Contents are undefined.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void free(void* data) noexcept = 0;
  // Whether `data` lies in memory that allocate() gave out: host code must not touch it.
  virtual bool owns(const void* data) const noexcept = 0;

  // In the order of the device's work. Either side may be host memory; on return `from` may be reused and a
  // host `to` may be read. `rows` pieces of `bytes`, `to_step` and `from_step` bytes apart.
  virtual void copy(void* to, int64_t to_step, const void* from, int64_t from_step, int64_t bytes,
                    int64_t rows) = 0;
  void copy(void* to, const void* from, int64_t bytes) { copy(to, bytes, from, bytes, bytes, 1); }
  virtual void fill(void* data, int byte, int64_t bytes) = 0;
  // Waits for the work. ERR_CUDA when some of it failed; the device is lost then, and every later call says
  // so.
  virtual void synchronize() = 0;
  // Seconds of the device that every one of `count` calls of body took, by its own clock.
  virtual std::vector<double> time(int count, const std::function<void()>& body) = 0;
};

// On the host when `device` is null.
void copy_memory(Device* device, void* to, const void* from, int64_t bytes);
void zero_memory(Device* device, void* data, int64_t bytes);

// What this build and this machine have of CUDA. Implemented by native/backends/cuda/device.cu, or by none.cc
// where that is not compiled.
struct CudaDevice {
  std::string name;     // 'NVIDIA H200'
  int major, minor;     // compute capability
  int64_t bytes;        // of memory
  std::string problem;  // why the kernels do not run there; empty: they do
};
struct CudaStatus {
  bool built = false;
  std::string architectures;        // that kernels were compiled for: 'sm_80 sm_90a compute_80'
  std::vector<CudaDevice> devices;  // in the driver's order; empty when none of them is usable
  std::string reason;               // why there is none, or which driver serves them
};
const CudaStatus& cuda_status();
// Which cuBLASLt plain products use, or why none; looks for it on the first call.
std::string cublas_status();
// ERR_BACKEND_UNAVAILABLE with the reason when there is no such device. kFirstUsable: the first that the
// kernels run on.
constexpr int kFirstUsable = -1;
std::shared_ptr<Device> open_cuda(int index);

}  // namespace hf
