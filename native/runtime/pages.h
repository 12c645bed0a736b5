// Memory straight from the system, for what is large and lives long: whole huge pages where the system has
// them. Weights, gradients and workspaces are read with strides of a page and more, and 4 KiB pages then cost
// a TLB miss per cache line.
#pragma once

#include <cstdint>

namespace hf {

// Zero-filled, 64-byte aligned; null if the system refuses. 0 ≤ bytes < 2^46.
void* allocate_pages(int64_t bytes) noexcept;
// `bytes` as given to allocate_pages.
void free_pages(void* data, int64_t bytes) noexcept;

}  // namespace hf
