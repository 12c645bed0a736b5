#include "emulation/runtime.h"

#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace {

constexpr size_t kPage = 4096;

struct Allocation {
  char* pages;  // the open part, followed by a page that is always closed
  size_t length;
  size_t bytes;
};

struct EmulatedDevice {
  std::mutex mutex;
  std::map<void*, Allocation> allocations;
  std::map<const char*, size_t> page_locked;  // begin → bytes
  struct Copy {
    void* to;
    const void* from;
    size_t bytes;
  };
  std::vector<Copy> pending;  // copies out of page-locked memory
  size_t used = 0;
  int working = 0;  // DeviceWork alive
  long launches = 0;
  cudaError_t sticky = cudaSuccess;

  static size_t number(const char* name, size_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
  }
  size_t total() const { return number("HEADFIRST_EMULATED_BYTES", size_t{1} << 31); }
  size_t block_shared() const { return number("HEADFIRST_EMULATED_SHARED", 163 << 10); }
  bool is_page_locked(const char* data) const {
    const auto after = page_locked.upper_bound(data);
    if (after == page_locked.begin()) return false;
    const auto& [begin, bytes] = *std::prev(after);
    return data < begin + bytes;
  }
  void protect(int mode) const {
    for (const auto& [data, a] : allocations)
      mprotect(a.pages, a.length, mode);
  }
};

EmulatedDevice& device() {
  static EmulatedDevice instance;
  return instance;
}
// Makes the copies that are still to be made.
void finish() {
  bool any;
  {
    std::lock_guard<std::mutex> lock(device().mutex);
    any = !device().pending.empty();
  }
  if (any) const hf::emulation::DeviceWork work;
}

}  // namespace

namespace hf::emulation {

DeviceWork::DeviceWork() {
  std::lock_guard<std::mutex> lock(device().mutex);
  if (device().working++ == 0) device().protect(PROT_READ | PROT_WRITE);
  for (const auto& copy : device().pending)
    std::memcpy(copy.to, copy.from, copy.bytes);
  device().pending.clear();
}
DeviceWork::~DeviceWork() {
  std::lock_guard<std::mutex> lock(device().mutex);
  if (--device().working == 0) device().protect(PROT_NONE);
}

cudaError_t next_launch() {
  std::lock_guard<std::mutex> lock(device().mutex);
  const size_t fault = EmulatedDevice::number("HEADFIRST_EMULATED_FAULT", 0);
  if (++device().launches == long(fault)) device().sticky = cudaErrorIllegalAddress;
  return device().sticky;
}

}  // namespace hf::emulation

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::snprintf(properties->name, sizeof properties->name, "emulated device");
  properties->totalGlobalMem = device().total();
  properties->major = 8;
  properties->minor = 0;
  properties->sharedMemPerBlockOptin = device().block_shared();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) {
  return index == 0 ? device().sticky : cudaErrorInvalidValue;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return device().sticky;
}
cudaError_t cudaStreamDestroy(cudaStream_t) {
  return device().sticky;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  finish();
  return device().sticky;
}
cudaError_t cudaStreamQuery(cudaStream_t) {
  return device().sticky;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  std::lock_guard<std::mutex> lock(device().mutex);
  if (device().sticky != cudaSuccess) return device().sticky;
  const size_t size = (bytes + 15) / 16 * 16, length = (size + kPage - 1) / kPage * kPage;
  if (device().used + size > device().total()) return cudaErrorMemoryAllocation;
  void* pages = mmap(nullptr, length + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return cudaErrorMemoryAllocation;
  const Allocation a{static_cast<char*>(pages), length, size};
  if (device().working > 0) mprotect(a.pages, a.length, PROT_READ | PROT_WRITE);
  *data = a.pages + length - size;  // ends where the closed page begins
  device().allocations[*data] = a;
  device().used += size;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  finish();
  std::lock_guard<std::mutex> lock(device().mutex);
  const auto found = device().allocations.find(data);
  if (found == device().allocations.end()) return data ? cudaErrorInvalidValue : cudaSuccess;
  munmap(found->second.pages, found->second.length + kPage);
  device().used -= found->second.bytes;
  device().allocations.erase(found);
  return device().sticky;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  std::lock_guard<std::mutex> lock(device().mutex);
  *data = std::malloc(bytes);
  if (!*data) return cudaErrorMemoryAllocation;
  device().page_locked[static_cast<const char*>(*data)] = bytes;
  return device().sticky;
}
cudaError_t cudaFreeHost(void* data) {
  finish();
  std::lock_guard<std::mutex> lock(device().mutex);
  device().page_locked.erase(static_cast<const char*>(data));
  std::free(data);
  return device().sticky;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = device().total();
  *free = *total - device().used;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  {
    std::lock_guard<std::mutex> lock(device().mutex);
    if (device().is_page_locked(static_cast<const char*>(from))) {
      device().pending.push_back({to, from, bytes});
      return device().sticky;
    }
  }
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_step, const void* from, size_t from_step, size_t bytes,
                              size_t rows, cudaMemcpyKind, cudaStream_t) {
  if (device().sticky != cudaSuccess) return device().sticky;
  const hf::emulation::DeviceWork work;
  for (size_t r = 0; r < rows; ++r)
    std::memcpy(static_cast<char*>(to) + r * to_step, static_cast<const char*>(from) + r * from_step, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* data, int byte, size_t bytes, cudaStream_t) {
  if (device().sticky != cudaSuccess) return device().sticky;
  const hf::emulation::DeviceWork work;
  std::memset(data, byte, bytes);
  return cudaSuccess;
}

struct EmulatedEvent {
  std::chrono::steady_clock::time_point time;
};
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  return device().sticky;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  finish();
  return device().sticky;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return device().sticky;
}

cudaError_t cudaGetLastError() {
  return device().sticky;
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "an error";
}
