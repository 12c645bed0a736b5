#include "runtime/device.h"

#include <cstring>

namespace hf {

void copy_memory(Device* device, void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  if (device)
    device->copy(to, from, bytes);
  else
    std::memcpy(to, from, static_cast<size_t>(bytes));
}

void zero_memory(Device* device, void* data, int64_t bytes) {
  if (bytes == 0) return;
  if (device)
    device->fill(data, 0, bytes);
  else
    std::memset(data, 0, static_cast<size_t>(bytes));
}

}  // namespace hf
