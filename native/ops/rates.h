// How fast this machine is, measured: the two sides of the roofline min(peak, intensity × bandwidth). Not an
// op: nothing is computed.
#pragma once

#include "runtime/run.h"

namespace hf {

// Work of known size. With `data` (contiguous float32) its numbers are read once, `bytes` of them; without,
// every thread executes `rounds` rounds of fused multiply-adds, or of bfloat16 dot products (vdpbf16ps), that
// wait for nothing but the units, and `flops` receives what that was.
struct RateProbe {
  View data;
  int64_t rounds = 0;
  bool bf16 = false;
  double* flops = nullptr;
};
using RateProbeFn = void (*)(const RateProbe&, Run&);
RateProbeFn& rate_probe(Backend backend);  // null for backends without vector kernels

struct Rates {
  double flops;  // float32 multiply-adds per second, counted as two, on run.threads threads
  // The same of bfloat16 products summed in float32 by the processor's own instruction; 0 where it has none.
  double bf16_flops;
  // Bytes read per second from `footprint` bytes that are read again and again: of the cache or memory that
  // holds them.
  double bytes;
};
// The best of several short trials: other processes only ever make them slower. About `seconds` in all.
Rates measure_rates(Run& run, int64_t footprint, double seconds);

}  // namespace hf
