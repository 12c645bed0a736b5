// Work that runs at the machine's limit (ops/rates.h): independent fused multiply-adds in registers, or a
// stream of loads. Nothing is computed that anybody reads.
#include "ops/rates.h"

#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"

namespace hf::HF_ISA {
namespace {

// Independent chains: an addition takes 4 – 5 cycles on each of 2 units, and no instruction set has fewer
// registers than these need.
constexpr int kChains = 12;
constexpr int64_t kBlock = int64_t{1} << 16;  // numbers that one task reads

// Volatile keeps the compiler from finding out that nobody needs the result.
void multiply_adds(int64_t rounds, volatile float* result) {
  Floats chain[kChains];
  for (int c = 0; c < kChains; ++c)
    chain[c] = broadcast(float(c));
  // Chains tend to 0.5: no overflow, no denormals.
  const Floats a = broadcast(*result + 0.5f);
  const Floats b = broadcast(*result + 0.25f);
  for (int64_t i = 0; i < rounds; ++i)
    for (int c = 0; c < kChains; ++c)
      chain[c] = multiply_add(chain[c], a, b);
  Floats total = chain[0];
  for (int c = 1; c < kChains; ++c)
    total += chain[c];
  *result = sum(total);
}

#if defined(__AVX512F__)
// As text, since these files are compiled for processors without it.
void bf16_dots(int64_t rounds) {
  for (int64_t i = 0; i < rounds; ++i)
    asm volatile(
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm0\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm1\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm2\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm3\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm4\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm5\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm6\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm7\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm8\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm9\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm10\n\t"
        "vdpbf16ps %%zmm30, %%zmm31, %%zmm11" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
              "xmm11");
}
#else
void bf16_dots(int64_t) {}  // measure_rates asks for none here
#endif

void read_all(const float* x, int64_t size, volatile float* result) {
  Floats total[8] = {};
  for (int64_t i = 0; i + 8 * kLanes <= size; i += 8 * kLanes)
    for (int c = 0; c < 8; ++c)
      total[c] += load(x + i + c * kLanes);
  Floats all = total[0];
  for (int c = 1; c < 8; ++c)
    all += total[c];
  *result = sum(all);
}

}  // namespace

// Not in op_list.inc, so isa.h does not declare it.
void run(const RateProbe& probe, Run& r);
void run(const RateProbe& probe, Run& r) {
  if (probe.data) {
    const int64_t size = probe.data.size();
    parallel_for(r, (size + kBlock - 1) / kBlock, [&](int64_t task) {
      volatile float result = 0;
      const int64_t begin = task * kBlock;
      const int64_t count = size - begin < kBlock ? size - begin : kBlock;
      read_all(probe.data.as<const float>() + begin, count, &result);
    });
    return;
  }
  parallel_for(r, r.threads, [&](int64_t) {
    volatile float result = 0;
    if (probe.bf16)
      bf16_dots(probe.rounds);
    else
      multiply_adds(probe.rounds, &result);
  });
  const int flops_per_lane = probe.bf16 ? 4 : 2;
  *probe.flops = double(r.threads) * double(probe.rounds) * kChains * kLanes * flops_per_lane;
}

}  // namespace hf::HF_ISA
