#include "runtime/device.h"

#include <cstring>

namespace hf {

void copy_memory(Device* device, void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  device ? device->copy(to, from, bytes)
         : static_cast<void>(std::memcpy(to, from, static_cast<size_t>(bytes)));
}

void zero_memory(Device* device, void* data, int64_t bytes) {
  if (bytes == 0) return;
  device ? device->fill(data, 0, bytes) : static_cast<void>(std::memset(data, 0, static_cast<size_t>(bytes)));
}

}  // namespace hf
