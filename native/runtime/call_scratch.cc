#include "runtime/call_scratch.h"

#include <optional>

namespace hf {
namespace {

struct Memory {
  Arena host;
  std::shared_ptr<Device> device;
  std::optional<Arena> device_arena;
};

Memory& memory() {
  thread_local Memory instance;
  return instance;
}

}  // namespace

CallScratch::CallScratch(Run& run) : run_(run) {
  Memory& m = memory();
  run.arena = &m.host;
  m.host.reset_peak();
  if (run.backend != Backend::kCuda) return;
  if (!m.device) {
    m.device = open_cuda(kFirstUsable);
    m.device_arena.emplace(m.device);
  }
  run.device = m.device.get();
  run.device_arena = &*m.device_arena;
  m.device_arena->reset_peak();
}

CallScratch::~CallScratch() {
  run_.arena->release(0);
  if (run_.device) run_.device_arena->release(0);
}

int64_t CallScratch::peak_bytes() const noexcept {
  return run_.arena->peak_bytes() + (run_.device ? run_.device_arena->peak_bytes() : 0);
}

}  // namespace hf
