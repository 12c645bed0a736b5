// Devices through the CUDA runtime: which ones there are, and Stream (stream.h): memory, copies, errors.
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "backends/cuda/stream.h"

namespace hf {
namespace {

// Why kernels do not run on a device; empty when they do.
std::string problem_of(const cudaDeviceProp& p) {
  if (p.major < 8)
    return "it has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           ", but kernels need 8.0 or higher";
  if (p.sharedMemPerBlockOptin < size_t(cuda::kBlockShared))
    return "it gives a block " + std::to_string(p.sharedMemPerBlockOptin >> 10) +
           " KiB of shared memory, but kernels need " + std::to_string(cuda::kBlockShared >> 10);
  return "";
}

// Why there is no device at all. `error` is what cudaGetDeviceCount said.
std::string why_none(cudaError_t error, int driver, const std::string& version) {
  if (driver == 0) return "no NVIDIA driver is installed";
  if (error == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + version + " only; install one for CUDA 13 or later";
  if (error == cudaErrorNoDevice || error == cudaSuccess)
    return "the NVIDIA driver finds no device (CUDA_VISIBLE_DEVICES may hide them)";
  return std::string("the CUDA runtime fails: ") + cudaGetErrorString(error);
}

CudaStatus look() {
  CudaStatus status;
  status.built = true;
  status.architectures = std::string(HEADFIRST_CUDA_ARCHITECTURES);
  int count = 0, driver = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  const std::string version = std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    status.reason = why_none(error, driver, version);
    return status;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    status.devices.push_back({
        properties.name,
        properties.major,
        properties.minor,
        int64_t(properties.totalGlobalMem),
        problem_of(properties),
    });
  }
  status.reason = "CUDA driver for " + version;
  std::string problems;
  for (const CudaDevice& d : status.devices) {
    if (d.problem.empty()) return status;
    problems += (problems.empty() ? "" : "; ") + d.name + ": " + d.problem;
  }
  status.reason = "no device is usable: " + problems;
  status.devices.clear();
  return status;
}

}  // namespace

const CudaStatus& cuda_status() {
  static const CudaStatus status = look();
  return status;
}

std::shared_ptr<Device> open_cuda(int index) {
  const CudaStatus& status = cuda_status();
  HF_CHECK(!status.devices.empty(), ErrorCode::kBackendUnavailable, "cuda: %s", status.reason.c_str());
  if (index == kFirstUsable) {  // there is one, or the list would be empty
    index = 0;
    while (!status.devices[size_t(index)].problem.empty())
      ++index;
  }
  HF_CHECK(index >= 0 && index < int(status.devices.size()), ErrorCode::kBackendUnavailable,
           "cuda: there is no device %d; this machine has %zu", index, status.devices.size());
  const CudaDevice& device = status.devices[size_t(index)];
  HF_CHECK(device.problem.empty(), ErrorCode::kBackendUnavailable, "cuda: device %d (%s) is not usable: %s",
           index, device.name.c_str(), device.problem.c_str());
  return std::make_shared<cuda::Stream>(index);
}

namespace cuda {

Stream::Stream(int index) : index_(index) {
  check(cudaSetDevice(index_), "cudaSetDevice");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties");
  multiprocessors_ = properties.multiProcessorCount;
  const char* wide = std::getenv("HEADFIRST_HOPPER");
  hopper_ = properties.major == 9 && !(wide && std::strcmp(wide, "off") == 0);
  profile_ = Profile::create(index_, stream_);
}

Stream::~Stream() {
  const bool reachable = cudaSetDevice(index_) == cudaSuccess;
  profile_.reset();
  blas_.reset();
  ring_.reset();
  uploads_.reset();
  if (reachable) cudaStreamDestroy(stream_);
}

void Stream::use() {
  if (!lost_.empty())
    fail(ErrorCode::kCuda, "this context is lost: %s; make a new one in a new process", lost_.c_str());
  check(cudaSetDevice(index_), "cudaSetDevice");
}

void Stream::check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  const std::string text = std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ")";
  if (error == cudaErrorNoKernelImageForDevice)
    fail(ErrorCode::kBackendUnavailable, "%s: this build has kernels for %s, none of which runs on device %d",
         what, HEADFIRST_CUDA_ARCHITECTURES, index_);
  cudaGetLastError();  // forgets an error that concerns one call only
  const bool stays = cudaGetLastError() != cudaSuccess || cudaStreamQuery(stream_) == error;
  if (stays) {
    std::lock_guard<std::mutex> lock(mutex_);
    lost_ = std::string(what) + ": " + text;
  }
  fail(ErrorCode::kCuda, "%s: %s on device %d%s", what, text.c_str(), index_,
       lost_.empty() ? "" : "; this context is lost");
}

void* Stream::allocate(int64_t bytes) {
  use();
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail(ErrorCode::kOutOfMemory,
         "device %d: %lld bytes requested, %lld of %lld free; use a smaller batch, model or maxBytes", index_,
         static_cast<long long>(bytes), static_cast<long long>(free), static_cast<long long>(total));
  }
  check(error, "cudaMalloc");
  std::lock_guard<std::mutex> lock(mutex_);
  ranges_[static_cast<const char*>(data)] = bytes;
  return data;
}

void Stream::free(void* data) noexcept {
  if (!data) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ranges_.erase(static_cast<const char*>(data));
  }
  if (cudaSetDevice(index_) == cudaSuccess) cudaFree(data);  // waits for work that uses it
}

bool Stream::owns(const void* data) const noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  const char* p = static_cast<const char*>(data);
  const auto after = ranges_.upper_bound(p);
  if (after == ranges_.begin()) return false;
  const auto range = std::prev(after);
  return p < range->first + range->second;
}

void Stream::copy(void* to, int64_t to_step, const void* from, int64_t from_step, int64_t bytes,
                  int64_t rows) {
  if (bytes == 0 || rows == 0) return;
  use();
  const Timed timed(profile(), "copy between host and device");
  const bool small_upload = rows == 1 && bytes <= PinnedRing::kLargest && owns(to) && !owns(from);
  if (small_upload) {
    std::call_once(ring_made_, [&] { ring_ = std::make_unique<PinnedRing>(*this); });
    return ring_->upload(to, from, bytes);
  }
  // A copy from pageable host memory returns once the numbers are in the driver's hands, a copy to it once
  // they have arrived.
  const size_t width = static_cast<size_t>(bytes);
  if (rows == 1) {
    check(cudaMemcpyAsync(to, from, width, cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
  } else {
    check(cudaMemcpy2DAsync(to, static_cast<size_t>(to_step), from, static_cast<size_t>(from_step), width,
                            static_cast<size_t>(rows), cudaMemcpyDefault, stream_),
          "cudaMemcpy2DAsync");
  }
  if (!owns(to)) synchronize();
}

void Stream::fill(void* data, int byte, int64_t bytes) {
  if (bytes == 0) return;
  use();
  const Timed timed(profile(), "fill");
  check(cudaMemsetAsync(data, byte, static_cast<size_t>(bytes), stream_), "cudaMemsetAsync");
}

void Stream::synchronize() {
  use();
  check(cudaStreamSynchronize(stream_), "the device's work");
}

std::vector<double> Stream::time(int count, const std::function<void()>& body) {
  use();
  // Events of all calls are recorded before any is waited for, so that the device does not run dry between
  // calls.
  struct Events {
    std::vector<cudaEvent_t> all;
    ~Events() {
      for (cudaEvent_t event : all)
        cudaEventDestroy(event);
    }
  } events;
  for (int i = 0; i <= count; ++i) {
    if (i > 0) body();
    cudaEvent_t event;
    check(cudaEventCreate(&event), "cudaEventCreate");
    events.all.push_back(event);
    check(cudaEventRecord(event, stream_), "cudaEventRecord");
  }
  synchronize();
  std::vector<double> seconds;
  for (int i = 0; i < count; ++i) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events.all[size_t(i)], events.all[size_t(i) + 1]),
          "cudaEventElapsedTime");
    seconds.push_back(double(milliseconds) / 1e3);
  }
  return seconds;
}

}  // namespace cuda
}  // namespace hf
