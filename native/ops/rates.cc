#include "ops/rates.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>

#include "core/fail.h"
#include "runtime/cpu.h"

namespace hf {

RateProbeFn& rate_probe(Backend backend) {
  static RateProbeFn probes[kBackendCount] = {};
  return probes[static_cast<int>(backend)];
}

Rates measure_rates(Run& run, int64_t footprint, double seconds) {
  const RateProbeFn probe = rate_probe(run.backend);
  HF_CHECK(probe, ErrorCode::kUnsupported,
           "measureRates: this backend has no vector kernels; use base, avx2 or avx512");
  using Clock = std::chrono::steady_clock;
  const auto best = [&](const RateProbe& work) {
    double least = 1e30;
    const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                     std::chrono::duration<double>(seconds / 2));
    do {
      const Clock::time_point begin = Clock::now();
      probe(work, run);
      least = std::min(least, std::chrono::duration<double>(Clock::now() - begin).count());
    } while (Clock::now() < end);
    return least;
  };
  Rates rates;
  double flops = 0;
  RateProbe arithmetic;
  arithmetic.rounds = 1 << 19;  // a few ms: longer than waking the threads, shorter than a time slice
  arithmetic.flops = &flops;
  const double time = best(arithmetic);
  rates.flops = flops / time;
  rates.bf16_flops = 0;
  if (run.backend == Backend::kCpuAvx512 && has_bf16_dot()) {
    arithmetic.bf16 = true;
    const double dot_time = best(arithmetic);
    rates.bf16_flops = flops / dot_time;
  }
  RateProbe reading;
  const int64_t floats = std::max<int64_t>(footprint / 4, 1024);
  const std::unique_ptr<float[]> numbers(new float[floats]);
  std::memset(numbers.get(), 0, size_t(floats) * sizeof(float));  // an untouched page is no memory
  reading.data = make_view(numbers.get(), DType::kF32, floats);
  rates.bytes = double(reading.data.bytes()) / best(reading);
  return rates;
}

}  // namespace hf
