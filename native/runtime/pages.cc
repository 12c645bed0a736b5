#include "runtime/pages.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace hf {
namespace {

constexpr int64_t kAlignment = 64;

int64_t round_up(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Windows has no aligned_alloc, because its free() could not give such memory back.
void* allocate_aligned(size_t bytes) noexcept {
#if defined(_WIN32)
  return ::_aligned_malloc(bytes, kAlignment);
#else
  return std::aligned_alloc(kAlignment, bytes);
#endif
}

void free_aligned(void* data) noexcept {
#if defined(_WIN32)
  ::_aligned_free(data);
#else
  std::free(data);
#endif
}

}  // namespace

#if defined(__linux__)
namespace {
constexpr int64_t kHugePage = int64_t{2} << 20;
bool is_large(int64_t bytes) {
  return bytes >= kHugePage;
}

// Fresh pages are zero already, so no memory is touched here.
void* map(int64_t bytes) noexcept {
  const int64_t size = round_up(bytes, kHugePage), spare = size + kHugePage;
  void* const mapped =
      ::mmap(nullptr, static_cast<size_t>(spare), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  char* const data = reinterpret_cast<char*>(round_up(reinterpret_cast<intptr_t>(mapped), kHugePage));
  if (data > begin) ::munmap(begin, static_cast<size_t>(data - begin));
  if (data + size < begin + spare) ::munmap(data + size, static_cast<size_t>(begin + spare - (data + size)));
  ::madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE);  // a wish: without it, ordinary pages
  return data;
}
}  // namespace
#endif

void* allocate_pages(int64_t bytes) noexcept {
#if defined(__linux__)
  if (is_large(bytes)) return map(bytes);
#endif
  const int64_t size = std::max(round_up(bytes, kAlignment), kAlignment);
  void* const data = allocate_aligned(static_cast<size_t>(size));
  if (data) std::memset(data, 0, static_cast<size_t>(size));
  return data;
}

void free_pages(void* data, [[maybe_unused]] int64_t bytes) noexcept {
#if defined(__linux__)
  if (is_large(bytes)) return void(::munmap(data, static_cast<size_t>(round_up(bytes, kHugePage))));
#endif
  free_aligned(data);
}

}  // namespace hf
