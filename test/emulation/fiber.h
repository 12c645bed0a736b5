// Fibers: stacks that take turns on one thread of the host.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace hf::emulation {

#if defined(__x86_64__)
struct Fiber {
  void* stack_pointer = nullptr;
};
#else
struct Fiber {
  ucontext_t context;
};
#endif

// A fiber that will start in enter(), which must never return.
Fiber make_fiber(char* stack, size_t bytes, void (*enter)());
// Leaves the running fiber in `from` and continues `to`.
void switch_fiber(Fiber& from, Fiber& to);

}  // namespace hf::emulation
