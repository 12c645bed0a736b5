#include "emulation/fiber.h"

#include <cstdint>

namespace hf::emulation {

#if defined(__x86_64__)

// Saves only what the calling convention says a function must keep, since a switch is a call. (swapcontext
// would ask the kernel about signals each time.)
extern "C" void hf_switch_stack(void** from, void* to);
asm(R"(
.text
.type hf_switch_stack, @function
hf_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size hf_switch_stack, .-hf_switch_stack
)");

// NOLINTNEXTLINE(readability-non-const-parameter): the stack is written, through its top
Fiber make_fiber(char* stack, size_t bytes, void (*enter)()) {
  // The stack as a call of enter() would leave it: its return address (there is none) at a multiple of 16
  // minus 8.
  uintptr_t top = reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{15};
  void** slot = reinterpret_cast<void**>(top);
  *--slot = nullptr;                         // enter() returns nowhere
  *--slot = reinterpret_cast<void*>(enter);  // where the first switch returns to
  for (int i = 0; i < 6; ++i)
    *--slot = nullptr;
  return {slot};
}

void switch_fiber(Fiber& from, Fiber& to) {
  hf_switch_stack(&from.stack_pointer, to.stack_pointer);
}

#else

// NOLINTNEXTLINE(readability-non-const-parameter): the stack is written, through its top
Fiber make_fiber(char* stack, size_t bytes, void (*enter)()) {
  Fiber fiber;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
  return fiber;
}

void switch_fiber(Fiber& from, Fiber& to) {
  swapcontext(&from.context, &to.context);
}

#endif

}  // namespace hf::emulation
