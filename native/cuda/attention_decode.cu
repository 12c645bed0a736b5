// One query per sequence against its cache. A block owns the query heads that share one key/value head of one sequence (its rows) and 64 output columns:
// the same code, tiles and order of sums as attention, so a sampled token's numbers have the bits of the training pass. Memory bound by contract, 8 bytes a
// cached number; only the warps that have rows multiply.
#include "cuda/attention_tile.h"

namespace hf::cuda {
namespace {

struct Cache {
  const float* data;
  int64_t slot_step, step, head_step;
  bool vectors;
};

struct Decode {
  HeadsOf q;
  Cache k, v;
  const int32_t *slots, *lengths;
  float* y;
  int64_t y_step, y_head, per_group, dims, chunks;
  float scale;
};

template <Math math>
__global__ void __launch_bounds__(AttentionShape::kThreads, 1) decode_kernel(Decode p) {
  const int64_t b = blockIdx.x, g = int64_t(blockIdx.y) / p.chunks, d0 = int64_t(blockIdx.y) % p.chunks * kAttentionTile, h = g * p.per_group;
  AttentionTile a;
  a.q = rows_operand(p.q.data + b * p.q.step + h * p.q.head_step, p.q.head_step, p.q.vectors);
  a.k = rows_operand(p.k.data + p.slots[b] * p.k.slot_step + g * p.k.head_step, p.k.step, p.k.vectors);
  a.v = rows_operand(p.v.data + p.slots[b] * p.v.slot_step + g * p.v.head_step, p.v.step, p.v.vectors);
  a.row0 = 0, a.rows = p.per_group, a.keys = p.lengths[b], a.dims = p.dims, a.causal = false, a.scale = p.scale;
  a.y = p.y + b * p.y_step + h * p.y_head, a.y_step = p.y_head, a.lse = nullptr, a.lse_step = 0;
  attend<math>(a, d0, false);
}

}  // namespace

void run(const AttentionDecodeArgs& args, Run& r) {
  on_device(args, r, [&](const AttentionDecodeArgs& a, Stream& stream) {
    HF_CHECK(a.q.shape[1] / a.cache_k.shape[2] <= kAttentionTile, ErrorCode::kUnsupported, "attention_decode: at most %d query heads a key head on CUDA, got %lld",
             kAttentionTile, static_cast<long long>(a.q.shape[1] / a.cache_k.shape[2]));
    const auto cache = [](const View& x) {
      return Cache{x.as<const float>(), x.stride[0], x.stride[1], x.stride[2],
                   reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride[0] % 4 == 0 && x.stride[1] % 4 == 0 && x.stride[2] % 4 == 0};
    };
    Decode p{};
    p.q = heads_of(a.q), p.k = cache(a.cache_k), p.v = cache(a.cache_v);
    p.slots = a.slots.as<const int32_t>(), p.lengths = a.lengths.as<const int32_t>();
    p.y = a.y.as<float>(), p.y_step = a.y.stride[0], p.y_head = a.y.stride[1];
    p.per_group = a.q.shape[1] / a.cache_k.shape[2], p.dims = a.q.shape[2], p.chunks = blocks(p.dims, kAttentionTile), p.scale = float(a.scale);
    const dim3 grid(unsigned(a.q.shape[0]), unsigned(a.cache_k.shape[2] * p.chunks));
    with_math(r.math, [&](auto tag) { launch("attention_decode", decode_kernel<tag.math>, grid, AttentionShape::kThreads, kForwardShared, stream, p); });
  });
}

}  // namespace hf::cuda
