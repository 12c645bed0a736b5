// New keys and values into the cache. A thread copies one number of k and of v, a block 256 of an entry's
// G·D. Of entries with one destination the host keeps the last. No shared memory. Memory bound: 16 bytes a
// number.
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
  cache_k.data[slot * cache_k.slot_step + position * cache_k.step + g * cache_k.head_step + d] =
      k.at(row, g, d);
  cache_v.data[slot * cache_v.slot_step + position * cache_v.step + g * cache_v.head_step + d] =
      v.at(row, g, d);
}

}  // namespace

void run(const KvAppendArgs& args, Run& r) {
  on_device(args, r, [&](const KvAppendArgs& a, Stream& stream) {
    const int64_t entries = a.rows.shape[0];
    const int64_t dims = a.k.shape[2];
    const int64_t numbers = a.k.shape[1] * dims;
    const int64_t chunks = blocks(numbers, kThreads);
    const auto destination = [&](int64_t m) {
      return args.slots.as<int32_t>()[m] * a.cache_k.shape[1] + args.positions.as<int32_t>()[m];
    };
    bool ascending = true;  // as in decoding: then all entries are kept
    for (int64_t m = 1; m < entries && ascending; ++m)
      ascending = destination(m - 1) < destination(m);
    std::vector<int32_t> kept;
    if (!ascending) {
      std::unordered_map<int64_t, int32_t> last;  // destination → entry
      for (int64_t m = 0; m < entries; ++m)
        last[destination(m)] = int32_t(m);
      for (const auto& [destination, entry] : last)
        kept.push_back(entry);
    }
    const int64_t count = ascending ? entries : int64_t(kept.size());
    const auto tokens = [](const View& x) {
      return Tokens{x.data, x.stride[0], x.stride[1], x.dtype == DType::kBF16};
    };
    const auto cache = [](const View& x) {
      return Cache{x.as<float>(), x.stride[0], x.stride[1], x.stride[2]};
    };
    launch("kv_append", append_kernel, dim3(unsigned(count * chunks)), kThreads, 0, stream, tokens(a.k),
           tokens(a.v), a.rows.as<const int32_t>(), a.slots.as<const int32_t>(),
           a.positions.as<const int32_t>(),
           ascending ? static_cast<const int32_t*>(nullptr) : device_copy(r, kept.data(), count),
           cache(a.cache_k), cache(a.cache_v), dims, numbers, chunks);
  });
}

}  // namespace hf::cuda
