// Writes new keys and values into the cache. A thread owns one number of k and of v, a block 256 of an
// entry's G·D. Of entries with one destination the host keeps the last. No shared memory. Memory bound: 16
// bytes a number.
#include <unordered_map>
#include <vector>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

struct Tokens {
  const void* data;
  int64_t step, head_step;
  bool bf16;
  HF_DEVICE float at(int64_t row, int64_t head, int64_t d) const {
    const int64_t i = row * step + head * head_step + d;
    return bf16 ? from_bf16(static_cast<const uint16_t*>(data)[i]) : static_cast<const float*>(data)[i];
  }
};
struct Cache {
  float* data;
  int64_t slot_step, step, head_step;
  HF_DEVICE float& at(int64_t slot, int64_t position, int64_t head, int64_t d) const {
    return data[slot * slot_step + position * step + head * head_step + d];
  }
};

HF_KERNEL __launch_bounds__(kThreads)
    append_kernel(Tokens k, Tokens v, const int32_t* rows, const int32_t* slots, const int32_t* positions,
                  const int32_t* kept, Cache cache_k, Cache cache_v, int64_t dims, int64_t numbers,
                  int64_t chunks) {
  const int64_t i = int64_t(blockIdx.x) % chunks * kThreads + threadIdx.x;
  if (i >= numbers) return;
  const int64_t entry = blockIdx.x / chunks;
  const int64_t m = kept ? kept[entry] : entry;
  const int64_t row = rows[m];
  const int64_t slot = slots[m];
  const int64_t position = positions[m];
  const int64_t g = i / dims;
  const int64_t d = i % dims;
  cache_k.at(slot, position, g, d) = k.at(row, g, d);
  cache_v.at(slot, position, g, d) = v.at(row, g, d);
}

Tokens tokens_of(const View& x) {
  return {.data = x.data, .step = x.stride[0], .head_step = x.stride[1], .bf16 = x.dtype == DType::kBF16};
}
Cache cache_of(const View& x) {
  return {.data = x.as<float>(), .slot_step = x.stride[0], .step = x.stride[1], .head_step = x.stride[2]};
}

// Where entry m goes, in host memory's terms.
int64_t destination_of(const KvAppendArgs& host, int64_t m) {
  return host.slots.as<int32_t>()[m] * host.cache_k.shape[1] + host.positions.as<int32_t>()[m];
}
bool destinations_ascend(const KvAppendArgs& host) {
  for (int64_t m = 1; m < host.rows.shape[0]; ++m)
    if (destination_of(host, m - 1) >= destination_of(host, m)) return false;
  return true;
}
// Of entries with one destination the last one.
std::vector<int32_t> last_of_each(const KvAppendArgs& host) {
  std::unordered_map<int64_t, int32_t> last;  // destination → entry
  for (int64_t m = 0; m < host.rows.shape[0]; ++m)
    last[destination_of(host, m)] = int32_t(m);
  std::vector<int32_t> kept;
  for (const auto& [destination, entry] : last)
    kept.push_back(entry);
  return kept;
}

}  // namespace

void run(const KvAppendArgs& args, Run& r) {
  on_device(args, r, [&](const KvAppendArgs& a, Stream& stream) {
    const int64_t entries = a.rows.shape[0];
    const int64_t dims = a.k.shape[2];
    const int64_t numbers = a.k.shape[1] * dims;
    const int64_t chunks = blocks(numbers, kThreads);
    const bool all = destinations_ascend(args);  // as in decoding: then all entries are kept
    const std::vector<int32_t> kept = all ? std::vector<int32_t>() : last_of_each(args);
    const int64_t count = all ? entries : int64_t(kept.size());
    const int32_t* kept_there = all ? nullptr : device_copy(r, kept.data(), count);
    launch("kv_append", append_kernel, dim3(unsigned(count * chunks)), kThreads, 0, stream, tokens_of(a.k),
           tokens_of(a.v), a.rows.as<const int32_t>(), a.slots.as<const int32_t>(),
           a.positions.as<const int32_t>(), kept_there, cache_of(a.cache_k), cache_of(a.cache_v), dims,
           numbers, chunks);
  });
}

}  // namespace hf::cuda
