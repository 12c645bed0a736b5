// Asked of the processor itself. __builtin_cpu_supports() would ask the compiler's runtime library, and the
// one that zig links says no to everything.
#include "runtime/instruction_sets.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace hf {
namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

// Zeros where the processor has no such leaf.
Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return Registers{};
  return r;
}

constexpr bool has(unsigned word, int bit) {
  return (word >> bit & 1u) != 0;
}

// The registers that the system saves when it switches between threads: XCR0.
uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Numbers of bits: Intel, Software Developer's Manual, volume 2, CPUID, and volume 1, section 13.3.
InstructionSets find() {
  InstructionSets found;
  const Registers basic = cpuid(1, 0);
  const bool has_xgetbv = has(basic.c, 27);
  if (!has_xgetbv) return found;

  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;
  const uint64_t saved = saved_registers();
  const bool saves_ymm = (saved & kYmm) == kYmm;
#if defined(__APPLE__)
  const bool saves_zmm = saves_ymm;  // macOS begins to save them when a thread first uses them
#else
  const bool saves_zmm = (saved & kZmm) == kZmm;
#endif

  const Registers extended = cpuid(7, 0), more = cpuid(7, 1);
  const bool fma = has(basic.c, 12), f16c = has(basic.c, 29);
  const bool avx2 = has(extended.b, 5), bmi2 = has(extended.b, 8);
  found.avx2 = saves_ymm && fma && f16c && avx2 && bmi2;
  const bool avx512f = has(extended.b, 16), avx512dq = has(extended.b, 17);
  const bool avx512bw = has(extended.b, 30), avx512vl = has(extended.b, 31);
  found.avx512 = found.avx2 && saves_zmm && avx512f && avx512dq && avx512bw && avx512vl;
  found.bf16_dot = found.avx512 && has(more.a, 5);
  return found;
}

#else

InstructionSets find() {
  return {};
}

#endif

}  // namespace

const InstructionSets& instruction_sets() {
  static const InstructionSets found = find();
  return found;
}

}  // namespace hf
