// One query per sequence against its cache, in plain float32 in every math mode: tensor cores would multiply
// 16 query rows where there is one. A block owns the query heads that share one key/value head of one
// sequence. In turn its threads share the scores of a tile of keys, its warps the rows (a row is a query
// head), and its threads the sums of the outputs. Sums run in the order of attention's exact kernel
// (attention_tile.h), so that a sampled token's numbers have the bits of the exact training pass. For the
// same reason a call with few sequences is not divided further. Shared memory: a tile of 64 keys and one of
// values, each row 4 numbers longer than D, 34 KiB for D 64. So there are six blocks a multiprocessor, each
// with one of its two tiles on the way while the other is used: 100 KiB in flight. Memory bound: 8 bytes a
// cached number for 4 operations a query head.
#include "ops/attention/cuda/attention_tile.h"

namespace hf::cuda {
namespace {

constexpr int kDecodeThreads = 128;

struct Cache {
  const float* data;
  int64_t slot_step, step, head_step;
  bool vectors;  // four numbers are one access
};

struct Decode {
  HeadMatrices q;
  Cache k, v;
  const int32_t *slots, *lengths;
  HeadMatrices y;
  int rows;         // query heads of a block
  int dims, depth;  // D, and its next multiple of 4
  float scale;
};

// What a block keeps in shared memory. A row of the tiles is depth + 4 words.
struct DecodeMemory {
  Shared<uint32_t> k, v;         // (64, depth + 4) each
  Shared<uint32_t> q;            // (rows, depth)
  Shared<uint32_t> probability;  // (rows, 64); first the scores
  Shared<float> out;             // (rows, depth) sums so far
  Shared<float> most;            // (rows) the largest score so far
  Shared<float> total;           // (rows) the sum of probabilities so far
  Shared<float> shrink;          // (rows) what the latest tile made of older sums

  HF_DEVICE explicit DecodeMemory(const Decode& p) {
    SharedMemory memory;
    k = memory.take<uint32_t>(kAttentionTile * (p.depth + 4));
    v = memory.take<uint32_t>(kAttentionTile * (p.depth + 4));
    q = memory.take<uint32_t>(p.rows * p.depth);
    probability = memory.take<uint32_t>(p.rows * kAttentionTile);
    out = memory.take<float>(p.rows * p.depth);
    most = memory.take<float>(p.rows);
    total = memory.take<float>(p.rows);
    shrink = memory.take<float>(p.rows);
  }
  // In numbers of 4 bytes.
  static int size(int rows, int depth) {
    return 2 * kAttentionTile * (depth + 4) + 2 * rows * depth + rows * kAttentionTile + 3 * rows;
  }
};

// Brings positions j0 … of a cached head into `tile`, zeros from dims on. Asynchronous.
HF_DEVICE void load_positions(Shared<uint32_t> tile, const Cache& cache, const float* head, int j0, int end,
                              const Decode& p) {
  const int count = end - j0 < kAttentionTile ? end - j0 : kAttentionTile, fours = p.depth / 4;
  for (int i = threadIdx.x; i < count * fours; i += kDecodeThreads) {
    const int r = i / fours, d = i % fours * 4;
    const float* from = head + (j0 + r) * cache.step + d;
    const Shared<uint32_t> to = tile + (r * (p.depth + 4) + d);
    if (cache.vectors && d + 4 <= p.dims) {
      cp_async_16(to, from, true);
    } else {
      for (int e = 0; e < 4; ++e)
        cp_async_4(to + e, d + e < p.dims ? from + e : head, d + e < p.dims);
    }
  }
  cp_async_commit();
}

// Scores of every row against the tile's `count` keys.
HF_DEVICE void score_tile(const DecodeMemory& m, const Decode& p, int count) {
  const int step = p.depth + 4;
  for (int i = threadIdx.x; i < p.rows * kAttentionTile; i += kDecodeThreads) {
    const int r = i / kAttentionTile, j = i % kAttentionTile;
    float s = 0;
    if (j < count) {
#pragma unroll 8
      for (int d = 0; d < p.depth; d += 4) {
        const Words4 x = load_words4(m.q, r * p.depth + d), y = load_words4(m.k, j * step + d);
#pragma unroll
        for (int e = 0; e < 4; ++e)
          s = fmaf(__uint_as_float(x.v[e]), __uint_as_float(y.v[e]), s);
      }
    }
    m.probability[i] = __float_as_uint(j < count ? p.scale * s : -INFINITY);
  }
}

// One step of the online softmax: a warp takes a row. Probabilities are summed by lane t of four over the
// keys that attend() gives it.
HF_DEVICE void weigh_tile(const DecodeMemory& m, const Decode& p) {
  const int lane = threadIdx.x % kWarp;
  for (int r = int(threadIdx.x) / kWarp; r < p.rows; r += kDecodeThreads / kWarp) {
    float best = m.most[r], sum = 0;
    float x[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      x[e] = __uint_as_float(m.probability[r * kAttentionTile + lane + e * kWarp]);
      best = fmaxf(best, x[e]);
    }
#pragma unroll
    for (int flip = 1; flip < kWarp; flip *= 2)
      best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, flip));
#pragma unroll
    for (int e = 0; e < 2; ++e)
      m.probability[r * kAttentionTile + lane + e * kWarp] =
          __float_as_uint(x[e] == -INFINITY ? 0.0f : expf(x[e] - best));
    const float factor = m.most[r] == -INFINITY ? 0.0f : expf(m.most[r] - best);
    const float before = m.total[r];
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kAttentionTile / 8; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        sum += __uint_as_float(m.probability[r * kAttentionTile + 8 * j + 2 * (lane % 4) + e]);
    sum = quad_sum(sum);
    if (lane == 0) {
      m.total[r] = before * factor + sum;
      m.most[r] = best;
      m.shrink[r] = factor;
    }
  }
}

// Adds the tile's `count` values, each with its probability, to the sums.
HF_DEVICE void add_values(const DecodeMemory& m, const Decode& p, int count) {
  const int step = p.depth + 4;
  for (int i = threadIdx.x; i < p.rows * p.depth; i += kDecodeThreads) {
    const int r = i / p.depth, d = i % p.depth;
    float sum = m.out[i] * m.shrink[r];
#pragma unroll 8
    for (int j = 0; j < count; ++j) {
      const float probability = __uint_as_float(m.probability[r * kAttentionTile + j]);
      sum = fmaf(probability, __uint_as_float(m.v[j * step + d]), sum);
    }
    m.out[i] = sum;
  }
}

HF_KERNEL __launch_bounds__(kDecodeThreads) decode_kernel(Decode p) {
  const DecodeMemory m(p);
  const int64_t b = blockIdx.x, g = blockIdx.y, h = g * p.rows;
  const float* k_head = p.k.data + p.slots[b] * p.k.slot_step + g * p.k.head_step;
  const float* v_head = p.v.data + p.slots[b] * p.v.slot_step + g * p.v.head_step;
  const int keys = p.lengths[b];
  load_positions(m.k, p.k, k_head, 0, keys, p);
  load_positions(m.v, p.v, v_head, 0, keys, p);
  for (int i = threadIdx.x; i < p.rows * p.depth; i += kDecodeThreads) {
    const int r = i / p.depth, d = i % p.depth;
    m.q[i] = d < p.dims ? __float_as_uint(p.q.rows(b, h + r).at(0, d)) : 0;
    m.out[i] = 0;
  }
  for (int r = threadIdx.x; r < p.rows; r += kDecodeThreads) {
    m.most[r] = -INFINITY;
    m.total[r] = 0;
  }
  for (int j0 = 0; j0 < keys; j0 += kAttentionTile) {
    const int count = keys - j0 < kAttentionTile ? keys - j0 : kAttentionTile;
    const bool more = j0 + kAttentionTile < keys;
    cp_async_wait<1>();
    __syncthreads();  // the keys have arrived
    score_tile(m, p, count);
    __syncthreads();
    if (more)
      load_positions(m.k, p.k, k_head, j0 + kAttentionTile, keys, p);
    else
      cp_async_commit();
    weigh_tile(m, p);
    cp_async_wait<1>();
    __syncthreads();  // the values have arrived, and the probabilities are there
    add_values(m, p, count);
    __syncthreads();
    if (more)
      load_positions(m.v, p.v, v_head, j0 + kAttentionTile, keys, p);
    else
      cp_async_commit();
  }
  for (int i = threadIdx.x; i < p.rows * p.depth; i += kDecodeThreads) {
    const int r = i / p.depth, d = i % p.depth;
    if (d < p.dims) p.y.rows(b, h + r).put(0, d, m.out[i] * (1.0f / m.total[r]));
  }
}

Cache cache_of(const View& x) {
  bool vectors = reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  for (int dim = 0; dim < 3; ++dim)
    vectors = vectors && x.stride[dim] % 4 == 0;
  return {
      .data = x.as<const float>(),
      .slot_step = x.stride[0],
      .step = x.stride[1],
      .head_step = x.stride[2],
      .vectors = vectors,
  };
}

}  // namespace

void run(const AttentionDecodeArgs& args, Run& r) {
  on_device(args, r, [&](const AttentionDecodeArgs& a, Stream& stream) {
    const int dims = int(a.q.shape[2]);
    const Decode p{
        .q = head_matrices_of(a.q),
        .k = cache_of(a.cache_k),
        .v = cache_of(a.cache_v),
        .slots = a.slots.as<const int32_t>(),
        .lengths = a.lengths.as<const int32_t>(),
        .y = head_matrices_of(a.y),
        .rows = int(a.q.shape[1] / a.cache_k.shape[2]),
        .dims = dims,
        .depth = (dims + 3) / 4 * 4,
        .scale = float(a.scale),
    };
    // Pieces begin at multiples of 16 bytes, which may cost 64 in all.
    const int shared = 4 * DecodeMemory::size(p.rows, p.depth) + 64;
    HF_CHECK(
        shared <= kBlockShared, ErrorCode::kUnsupported,
        "attention_decode: %d query heads a key head of %d numbers need %d bytes of shared memory on CUDA, "
        "which has %d",
        p.rows, p.dims, shared, kBlockShared);
    const dim3 grid(unsigned(a.q.shape[0]), unsigned(a.cache_k.shape[2]));
    launch("attention_decode", decode_kernel, grid, kDecodeThreads, shared, stream, p);
  });
}

}  // namespace hf::cuda
