// The random numbers of op sketch, one function each for reference, CPU and CUDA. Which entry of which matrix
// they are is said in ops/sketch/sketch.h.
#pragma once

#include "core/macros.h"
#include "core/philox.h"

namespace hf {

// Entries 128 q … 128 q + 127 of a column: bit set = +1.
HF_INLINE Philox4 rademacher_bits(uint64_t seed, uint64_t stream, uint64_t column, uint64_t q) {
  return philox(seed, stream, (column << 20) + q);
}

HF_INLINE double rademacher_entry(uint64_t seed, uint64_t stream, uint64_t column, uint64_t entry) {
  const Philox4 bits = rademacher_bits(seed, stream, column, entry / 128);
  const bool is_set = (bits.v[entry % 128 / 32] >> (entry % 32)) & 1;
  return is_set ? 1.0 : -1.0;
}

// Entries 2 q and 2 q + 1 of a column (Box–Muller).
struct GaussianPair {
  double even;
  double odd;
};
HF_INLINE GaussianPair gaussian_entries(uint64_t seed, uint64_t stream, uint64_t column, uint64_t q) {
  const uint64_t counter = (column << 20) + 2 * q;
  const double u = philox_uniform(seed, stream, counter);
  const double v = philox_uniform(seed, stream, counter + 1);
  const double radius = __builtin_sqrt(-2 * __builtin_log(u));
  const double angle = 6.283185307179586476925286766559 * v;
  return {radius * __builtin_cos(angle), radius * __builtin_sin(angle)};
}

}  // namespace hf
