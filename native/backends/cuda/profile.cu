#include "backends/cuda/profile.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

namespace hf::cuda {
namespace {

constexpr size_t kMostOpen = 4096;

// The profiles of streams that have not ended. Never destroyed, because the process may end before a stream.
struct Alive {
  std::mutex mutex;
  std::set<Profile*> all;
};
Alive& alive() {
  static Alive* const instance = [] {
    std::atexit([] {
      std::lock_guard<std::mutex> lock(alive().mutex);
      for (Profile* profile : alive().all)
        profile->print();
    });
    return new Alive;
  }();
  return *instance;
}

}  // namespace

std::unique_ptr<Profile> Profile::create(int device, cudaStream_t stream) {
  const char* wanted = std::getenv("HEADFIRST_PROFILE");
  if (!wanted || std::string(wanted) != "1") return nullptr;
  return std::unique_ptr<Profile>(new Profile(device, stream));
}

Profile::Profile(int device, cudaStream_t stream) : device_(device), stream_(stream) {
  std::lock_guard<std::mutex> lock(alive().mutex);
  alive().all.insert(this);
}

Profile::~Profile() {
  {
    std::lock_guard<std::mutex> lock(alive().mutex);
    alive().all.erase(this);
  }
  print();
  for (cudaEvent_t event : free_)
    cudaEventDestroy(event);
}

const char* Profile::name(std::string name) {
  std::lock_guard<std::mutex> lock(mutex_);
  return names_.insert(std::move(name)).first->c_str();
}

cudaEvent_t Profile::record() {
  std::lock_guard<std::mutex> lock(mutex_);
  return record_locked();
}

cudaEvent_t Profile::record_locked() {
  cudaEvent_t event = nullptr;
  if (!free_.empty()) {
    event = free_.back();
    free_.pop_back();
  } else {
    cudaEventCreate(&event);
  }
  cudaEventRecord(event, stream_);
  return event;
}

void Profile::add(const char* name, cudaEvent_t begin) {
  std::lock_guard<std::mutex> lock(mutex_);
  open_.push_back({name, begin, record_locked()});
  if (open_.size() >= kMostOpen) collect();
}

void Profile::collect() {
  for (const Span& span : open_) {
    auto total =
        std::find_if(totals_.begin(), totals_.end(), [&](const Total& t) { return t.name == span.name; });
    if (total == totals_.end()) total = totals_.insert(total, {span.name, 0, 0});
    float milliseconds = 0;
    const bool measured = cudaEventSynchronize(span.end) == cudaSuccess &&
                          cudaEventElapsedTime(&milliseconds, span.begin, span.end) == cudaSuccess;
    if (measured) total->milliseconds += double(milliseconds);
    ++total->calls;
    free_.push_back(span.begin);
    free_.push_back(span.end);
  }
  open_.clear();
}

void Profile::print() {
  std::lock_guard<std::mutex> lock(mutex_);
  collect();
  if (totals_.empty()) return;
  std::sort(totals_.begin(), totals_.end(),
            [](const Total& a, const Total& b) { return a.milliseconds > b.milliseconds; });
  double all = 0;
  long calls = 0;
  for (const Total& t : totals_) {
    all += t.milliseconds;
    calls += t.calls;
  }
  std::fprintf(stderr, "headfirst profile, cuda:%d\n%-32s %9s %12s %7s\n", device_, "name", "calls", "ms",
               "share");
  for (const Total& t : totals_)
    std::fprintf(stderr, "%-32s %9ld %12.3f %6.1f%%\n", t.name.c_str(), t.calls, t.milliseconds,
                 all > 0 ? 100 * t.milliseconds / all : 0.0);
  std::fprintf(stderr, "%-32s %9ld %12.3f\n", "all", calls, all);
  totals_.clear();
}

}  // namespace hf::cuda
