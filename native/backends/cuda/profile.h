// HEADFIRST_PROFILE=1 prints to stderr the device's time by what was started, when a stream ends or at the
// latest when the process does. A pair of events stands around every launch. Where the device waits for the
// host, a launch's own delay counts as well.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backends/cuda/platform.h"

namespace hf::cuda {

class Profile {
 public:
  // Null unless the environment asks for it.
  static std::unique_ptr<Profile> create(int device, cudaStream_t stream);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // One pointer for one name, wherever it is spelled, valid as long as the profile.
  const char* name(std::string name);
  cudaEvent_t record();
  void add(const char* name, cudaEvent_t begin);  // the time from `begin` until now
  void print();

 private:
  Profile(int device, cudaStream_t stream);
  cudaEvent_t record_locked();
  void collect();

  struct Span {
    const char* name;
    cudaEvent_t begin, end;
  };
  struct Total {
    std::string name;
    long calls;
    double milliseconds;
  };
  const int device_;
  const cudaStream_t stream_;
  std::mutex mutex_;
  std::vector<Span> open_;  // the device may not have come to these yet
  std::vector<cudaEvent_t> free_;
  std::vector<Total> totals_;
  std::set<std::string> names_;
};

// What is started while one lives counts as `name`'s. It does nothing where `profile` is null.
class Timed {
 public:
  Timed(Profile* profile, const char* name)
      : profile_(profile), name_(name), begin_(profile ? profile->record() : nullptr) {}
  ~Timed() {
    if (profile_) profile_->add(name_, begin_);
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Profile* const profile_;
  const char* const name_;
  const cudaEvent_t begin_;
};

}  // namespace hf::cuda
