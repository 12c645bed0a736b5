// A file as memory that is read only, for as long as the object lives.
#pragma once

#include <cstdint>
#include <string>

namespace hf {

class MappedFile {
 public:
  // The path is UTF-8. Throws kIo.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const char* data() const { return static_cast<const char*>(data_); }
  int64_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace hf
