// One query per sequence against its cache, plain float32 in every math mode: tensor cores would multiply 16
// query rows for one. A block owns the query heads that share one key/value head of one sequence. Sums run in
// the order of attention's exact kernel (attention_tile.h), so a sampled token's numbers have the bits of the
// exact training pass; a call with few sequences is not divided further, for the same reason. Shared memory:
// a tile of 64 keys and one of values, each row 4 numbers longer than D, 34 KiB for D 64: six blocks a
// multiprocessor, each with one of the two tiles on its way while the other is used, so 100 KiB in flight.
// Memory bound: 8 bytes a cached number for 4 operations a query head.
#include "ops/attention/cuda/attention_tile.h"

namespace hf::cuda {
namespace {

constexpr int kDecodeThreads = 128;

struct Cache {
  const float* data;
  int64_t slot_step, step, head_step;
  bool vectors;
};

struct Decode {
  HeadsOf q;
  Cache k, v;
  const int32_t *slots, *lengths;
  HeadsOf y;
  int rows, dims, depth;  // query heads of a block; D, and its next multiple of 4
  float scale;
};

// Numbers of shared memory: two tiles; queries and sums of every row; probabilities; a row's largest score,
// sum and latest factor.
int decode_shared(int rows, int depth) {
  return 2 * kAttentionTile * (depth + 4) + 2 * rows * depth + rows * kAttentionTile + 3 * rows;
}

// Positions j0 … of a cached head into `tile`, from `end` on zero. Asynchronous.
HF_DEVICE void load_positions(Shared<uint32_t> tile, const Cache& cache, const float* head, int j0, int end,
                              int dims, int depth) {
  const int count = end - j0 < kAttentionTile ? end - j0 : kAttentionTile, fours = depth / 4;
  for (int i = threadIdx.x; i < count * fours; i += kDecodeThreads) {
    const int r = i / fours, d = i % fours * 4;
    const float* from = head + (j0 + r) * cache.step + d;
    const Shared<uint32_t> to = tile + (r * (depth + 4) + d);
    if (cache.vectors && d + 4 <= dims) {
      cp_async_16(to, from, true);
    } else {
      for (int e = 0; e < 4; ++e)
        cp_async_4(to + e, d + e < dims ? from + e : head, d + e < dims);
    }
  }
  cp_async_commit();
}

HF_KERNEL __launch_bounds__(kDecodeThreads) decode_kernel(Decode p) {
  SharedMemory memory;
  const int depth = p.depth, step = depth + 4;
  const Shared<uint32_t> k = memory.take<uint32_t>(kAttentionTile * step);
  const Shared<uint32_t> v = memory.take<uint32_t>(kAttentionTile * step);
  const Shared<uint32_t> q = memory.take<uint32_t>(p.rows * depth);
  const Shared<uint32_t> probability = memory.take<uint32_t>(p.rows * kAttentionTile);
  const Shared<float> out = memory.take<float>(p.rows * depth);
  const Shared<float> most = memory.take<float>(p.rows);
  const Shared<float> total = memory.take<float>(p.rows);
  const Shared<float> shrink = memory.take<float>(p.rows);
  const int64_t b = blockIdx.x, g = blockIdx.y, h = g * p.rows;
  const float* k_head = p.k.data + p.slots[b] * p.k.slot_step + g * p.k.head_step;
  const float* v_head = p.v.data + p.slots[b] * p.v.slot_step + g * p.v.head_step;
  const int keys = p.lengths[b], lane = threadIdx.x % kWarp;
  load_positions(k, p.k, k_head, 0, keys, p.dims, depth);
  load_positions(v, p.v, v_head, 0, keys, p.dims, depth);
  for (int i = threadIdx.x; i < p.rows * depth; i += kDecodeThreads) {
    const int r = i / depth, d = i % depth;
    q[i] = d < p.dims ? __float_as_uint(p.q.rows(b, h + r).at(0, d)) : 0;
    out[i] = 0;
  }
  for (int r = threadIdx.x; r < p.rows; r += kDecodeThreads) {
    most[r] = -INFINITY;
    total[r] = 0;
  }
  for (int j0 = 0; j0 < keys; j0 += kAttentionTile) {
    const int count = keys - j0 < kAttentionTile ? keys - j0 : kAttentionTile;
    const bool more = j0 + kAttentionTile < keys;
    cp_async_wait<1>();
    __syncthreads();  // the keys have arrived
    for (int i = threadIdx.x; i < p.rows * kAttentionTile; i += kDecodeThreads) {
      const int r = i / kAttentionTile, j = i % kAttentionTile;
      float s = 0;
      if (j < count) {
#pragma unroll 8
        for (int d = 0; d < depth; d += 4) {
          const Words4 x = load_words4(q, r * depth + d), y = load_words4(k, j * step + d);
#pragma unroll
          for (int e = 0; e < 4; ++e)
            s = fmaf(__uint_as_float(x.v[e]), __uint_as_float(y.v[e]), s);
        }
      }
      probability[i] = __float_as_uint(j < count ? p.scale * s : -INFINITY);
    }
    __syncthreads();
    if (more)
      load_positions(k, p.k, k_head, j0 + kAttentionTile, keys, p.dims, depth);
    else
      cp_async_commit();
    for (int r = int(threadIdx.x) / kWarp; r < p.rows;
         r += kDecodeThreads / kWarp) {  // a warp a row, lane t of four with the keys that attend() gives it
      float best = most[r], sum = 0;
      float x[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        x[e] = __uint_as_float(probability[r * kAttentionTile + lane + e * kWarp]);
        best = fmaxf(best, x[e]);
      }
#pragma unroll
      for (int flip = 1; flip < kWarp; flip *= 2)
        best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, flip));
#pragma unroll
      for (int e = 0; e < 2; ++e)
        probability[r * kAttentionTile + lane + e * kWarp] =
            __float_as_uint(x[e] == -INFINITY ? 0.0f : expf(x[e] - best));
      const float factor = most[r] == -INFINITY ? 0.0f : expf(most[r] - best), before = total[r];
      __syncwarp();
#pragma unroll
      for (int j = 0; j < kAttentionTile / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          sum += __uint_as_float(probability[r * kAttentionTile + 8 * j + 2 * (lane % 4) + e]);
      sum = quad_sum(sum);
      if (lane == 0) {
        total[r] = before * factor + sum;
        most[r] = best;
        shrink[r] = factor;
      }
    }
    cp_async_wait<1>();
    __syncthreads();  // the values have arrived, and the probabilities are there
    for (int i = threadIdx.x; i < p.rows * depth; i += kDecodeThreads) {
      const int r = i / depth, d = i % depth;
      float sum = out[i] * shrink[r];
#pragma unroll 8
      for (int j = 0; j < count; ++j)
        sum =
            fmaf(__uint_as_float(probability[r * kAttentionTile + j]), __uint_as_float(v[j * step + d]), sum);
      out[i] = sum;
    }
    __syncthreads();
    if (more)
      load_positions(v, p.v, v_head, j0 + kAttentionTile, keys, p.dims, depth);
    else
      cp_async_commit();
  }
  for (int i = threadIdx.x; i < p.rows * depth; i += kDecodeThreads) {
    const int r = i / depth, d = i % depth;
    if (d < p.dims) p.y.rows(b, h + r).put(0, d, out[i] * (1.0f / total[r]));
  }
}

}  // namespace

void run(const AttentionDecodeArgs& args, Run& r) {
  on_device(args, r, [&](const AttentionDecodeArgs& a, Stream& stream) {
    const auto cache = [](const View& x) {
      return Cache{x.as<const float>(), x.stride[0], x.stride[1], x.stride[2],
                   reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride[0] % 4 == 0 &&
                       x.stride[1] % 4 == 0 && x.stride[2] % 4 == 0};
    };
    Decode p{};
    p.q = heads_of(a.q);
    p.k = cache(a.cache_k);
    p.v = cache(a.cache_v);
    p.slots = a.slots.as<const int32_t>();
    p.lengths = a.lengths.as<const int32_t>();
    p.y = heads_of(a.y);
    p.rows = int(a.q.shape[1] / a.cache_k.shape[2]);
    p.dims = int(a.q.shape[2]);
    p.depth = (p.dims + 3) / 4 * 4;
    p.scale = float(a.scale);
    const int shared = 4 * decode_shared(p.rows, p.depth) + 64;  // pieces begin at multiples of 16 bytes
    HF_CHECK(
        shared <= kBlockShared, ErrorCode::kUnsupported,
        "attention_decode: %d query heads a key head of %d numbers need %d bytes of shared memory on CUDA, which has %d",
        p.rows, p.dims, shared, kBlockShared);
    launch("attention_decode", decode_kernel, dim3(unsigned(a.q.shape[0]), unsigned(a.cache_k.shape[2])),
           kDecodeThreads, shared, stream, p);
  });
}

}  // namespace hf::cuda
