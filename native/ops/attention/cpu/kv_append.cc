// Scatter of new keys and values into the cache (ops/attention/kv_append.h): copies, bound by memory. A task
// owns some heads of k or of v for all entries, so entries with one destination are written in their order.
#include "backends/cpu/isa.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;    // numbers copied in about 30 µs
constexpr int64_t kMostHeadParts = 4;  // the heads of k, and those of v, are cut into so many parts

// Heads [begin, end) of all entries.
void copy_heads(const KvAppendArgs& a, const View& from, const View& to, int64_t begin, int64_t end) {
  const int64_t M = a.rows.shape[0];
  const int64_t D = from.shape[2];
  const bool heads_adjoin = from.stride[1] == D && to.stride[2] == D;
  for (int64_t m = 0; m < M; ++m) {
    const int64_t row = a.rows.as<int32_t>()[m];
    const int64_t slot = a.slots.as<int32_t>()[m];
    const int64_t position = a.positions.as<int32_t>()[m];
    const float* source = from.as<float>() + row * from.stride[0];
    float* target = to.as<float>() + slot * to.stride[0] + position * to.stride[1];
    if (heads_adjoin) {
      __builtin_memcpy(target + begin * D, source + begin * D, (end - begin) * D * sizeof(float));
    } else {
      for (int64_t g = begin; g < end; ++g)
        __builtin_memcpy(target + g * to.stride[2], source + g * from.stride[1], D * sizeof(float));
    }
  }
}

}  // namespace

void run(const KvAppendArgs& a, Run& r) {
  const int64_t M = a.rows.shape[0];
  const int64_t G = a.k.shape[1];
  const int64_t D = a.k.shape[2];
  if (M * G * D < kGrain) {
    copy_heads(a, a.k, a.cache_k, 0, G);
    copy_heads(a, a.v, a.cache_v, 0, G);
    return;
  }
  const int64_t parts = G < kMostHeadParts ? G : kMostHeadParts;
  parallel_for(r, 2 * parts, [&](int64_t task) {
    const int64_t part = task / 2;
    const int64_t begin = part * G / parts;
    const int64_t end = (part + 1) * G / parts;
    if (task % 2)
      copy_heads(a, a.v, a.cache_v, begin, end);
    else
      copy_heads(a, a.k, a.cache_k, begin, end);
  });
}

}  // namespace hf::HF_ISA
