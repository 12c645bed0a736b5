#include "runtime/run.h"

#include "runtime/arena.h"
#include "runtime/device.h"
#include "runtime/job.h"

namespace hf {
namespace {

// Where the run's real numbers live.
Arena& arena_of_numbers(Run& run) {
  if (run.counting) return *run.counting;
  return run.device ? *run.device_arena : *run.arena;
}

}  // namespace

void* arena_allocate(Run& run, int64_t bytes) {
  return run.arena->allocate(bytes);
}

void* arena_allocate_numbers(Run& run, int64_t bytes) {
  return arena_of_numbers(run).allocate(bytes);
}

ArenaMark arena_mark(Run& run) {
  return {.host = run.arena->mark(), .numbers = arena_of_numbers(run).mark()};
}

void arena_release(Run& run, ArenaMark mark) {
  run.arena->release(mark.host);
  Arena& numbers = arena_of_numbers(run);
  if (&numbers != run.arena) numbers.release(mark.numbers);
}

void copy_numbers(Run& run, const View& to, const View& from) {
  if (run.counting) return;
  copy_memory(run.device, to.data, from.data, from.bytes());
}

void set_zero(Run& run, const View& contiguous) {
  if (run.counting) return;
  Device* device = run.device && run.device->owns(contiguous.data) ? run.device : nullptr;
  zero_memory(device, contiguous.data, contiguous.bytes());
}

View on_device(Run& run, const View& host) {
  if (!run.device || !host) return host;
  View copy = host;
  copy.data = arena_allocate_numbers(run, host.bytes());
  copy_numbers(run, copy, host);
  return copy;
}

void checkpoint(Run& run) {
  if (run.control) run.control->checkpoint();
}

void report_progress(Run& run, int64_t done, int64_t total) {
  if (run.control) run.control->report(done, total);
}

}  // namespace hf
