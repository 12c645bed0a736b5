#include "runtime/mapped_file.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#endif

#include <system_error>

#include "core/fail.h"

namespace hf {
namespace {

[[noreturn]] void fail_to_map(const std::string& path, int64_t size, const std::string& why) {
  fail(ErrorCode::kIo, "cannot map '%s' (%lld bytes): %s", path.c_str(), static_cast<long long>(size),
       why.c_str());
}

#if defined(_WIN32)

std::string last_problem() {
  return std::system_category().message(static_cast<int>(::GetLastError()));
}

std::wstring wide(const std::string& text) {
  const int bytes = static_cast<int>(text.size());
  const int length = ::MultiByteToWideChar(CP_UTF8, 0, text.data(), bytes, nullptr, 0);
  std::wstring out(static_cast<size_t>(length), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, text.data(), bytes, out.data(), length);
  return out;
}

#else

std::string last_problem() {
  return std::generic_category().message(errno);
}

#endif

}  // namespace

#if defined(_WIN32)

MappedFile::MappedFile(const std::string& path) {
  const HANDLE file = ::CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE,
                                    nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  HF_CHECK(file != INVALID_HANDLE_VALUE, ErrorCode::kIo, "cannot open '%s': %s", path.c_str(),
           last_problem().c_str());
  LARGE_INTEGER bytes{};
  ::GetFileSizeEx(file, &bytes);
  size_ = bytes.QuadPart;
  // The view keeps the mapping alive, and the mapping the file.
  const HANDLE mapping =
      size_ > 0 ? ::CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr) : nullptr;
  if (mapping) data_ = ::MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  const std::string problem = size_ > 0 ? last_problem() : "the file is empty";
  if (mapping) ::CloseHandle(mapping);
  ::CloseHandle(file);
  if (!data_) fail_to_map(path, size_, problem);
}

MappedFile::~MappedFile() {
  ::UnmapViewOfFile(data_);
}

#else

MappedFile::MappedFile(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  HF_CHECK(file >= 0, ErrorCode::kIo, "cannot open '%s': %s", path.c_str(), last_problem().c_str());
  struct stat status;
  const bool known = ::fstat(file, &status) == 0;
  size_ = known ? status.st_size : 0;
  void* const mapped =
      size_ > 0 ? ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
  const std::string problem = size_ > 0 ? last_problem() : "the file is empty";
  ::close(file);
  if (mapped == MAP_FAILED) fail_to_map(path, size_, problem);
  data_ = mapped;
}

MappedFile::~MappedFile() {
  ::munmap(data_, static_cast<size_t>(size_));
}

#endif

}  // namespace hf
