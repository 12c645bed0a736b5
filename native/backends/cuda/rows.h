// What memory-bound kernels share: rows of a matrix read and written four columns at a time, and sums over a
// warp or a block. Four float32 (or four bfloat16) are one access, and only wide accesses with several under
// way together reach the memory's rate.
#pragma once

#include "backends/cuda/platform.h"
#include "core/view.h"

namespace hf::cuda {

// Of a block of the memory-bound kernels: enough loads are in flight with any occupancy from 50 % on.
constexpr int kThreads = 256;

struct Four {
  float v[4];
};

HF_DEVICE float from_bf16(uint16_t bits) {
  return __uint_as_float(uint32_t(bits) << 16);
}

// A matrix (N, C) of float32 or bfloat16 whose rows may be apart. `data` is null where the matrix is absent.
struct Rows {
  void* data = nullptr;
  int64_t step = 0;
  bool aligned = false;  // four numbers of a row are one access
  bool bf16 = false;

  HF_DEVICE float* row(int64_t n) const { return static_cast<float*>(data) + n * step; }  // of float32
  HF_DEVICE float at(int64_t n, int64_t c) const {
    return bf16 ? from_bf16(static_cast<const uint16_t*>(data)[n * step + c]) : row(n)[c];
  }
  HF_DEVICE void put(int64_t n, int64_t c, float x) const {
    if (bf16)
      static_cast<uint16_t*>(data)[n * step + c] = uint16_t(to_bf16x2(x, 0.0f));
    else
      row(n)[c] = x;
  }
  // Columns c … c + 3, all there, of aligned rows of a known type: one access.
  template <bool kBf16>
  HF_DEVICE Four load_whole(int64_t n, int64_t c) const {
    if constexpr (kBf16) {
      const uint2 q = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + n * step + c);
      return {{__uint_as_float(q.x << 16), __uint_as_float(q.x & 0xffff0000u), __uint_as_float(q.y << 16),
               __uint_as_float(q.y & 0xffff0000u)}};
    } else {
      const float4 q = *reinterpret_cast<const float4*>(row(n) + c);
      return {{q.x, q.y, q.z, q.w}};
    }
  }
  // Columns c … c + 3; those from `count` on are 0, or not written.
  HF_DEVICE Four load(int64_t n, int64_t c, int64_t count) const {
    if (aligned && c + 4 <= count) return bf16 ? load_whole<true>(n, c) : load_whole<false>(n, c);
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out.v[i] = c + i < count ? at(n, c + i) : 0.0f;
    return out;
  }
  HF_DEVICE void store(int64_t n, int64_t c, int64_t count, const Four& x) const {
    if (bf16) {
      uint16_t* p = static_cast<uint16_t*>(data) + n * step + c;
      if (aligned && c + 4 <= count) {
        store_whole(p, make_uint2(to_bf16x2(x.v[0], x.v[1]), to_bf16x2(x.v[2], x.v[3])));
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (c + i < count) p[i] = uint16_t(to_bf16x2(x.v[i], 0.0f));
      }
      return;
    }
    float* p = row(n) + c;
    if (aligned && c + 4 <= count) {
      store_whole(p, make_float4(x.v[0], x.v[1], x.v[2], x.v[3]));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (c + i < count) p[i] = x.v[i];
    }
  }
};

// Calls body(load) with load(n, c) = x.load(n, c, columns), the kind of load chosen here, once. x.load
// chooses at every call: the branch then parts every load from the next, and each is waited for before the
// next is under way.
template <class Body>
HF_DEVICE void with_loads(const Rows& x, int64_t columns, const Body& body) {
  if (!x.aligned || columns % 4 != 0)
    body([&](int64_t n, int64_t c) { return x.load(n, c, columns); });
  else if (x.bf16)
    body([&](int64_t n, int64_t c) { return x.load_whole<true>(n, c); });
  else
    body([&](int64_t n, int64_t c) { return x.load_whole<false>(n, c); });
}

// A matrix, or a vector as one row.
inline Rows rows_of(const View& v) {
  if (!v) return {};
  const int64_t step = v.rank == 2 ? v.stride[0] : 0;
  const int64_t width = dtype_bytes(v.dtype);
  return {
      .data = v.data,
      .step = step,
      .aligned = reinterpret_cast<uintptr_t>(v.data) % (4 * width) == 0 && step % 4 == 0,
      .bf16 = v.dtype == DType::kBF16,
  };
}

// The same sum in every lane of the warp.
template <class T>
HF_DEVICE T warp_sum(T x) {
#pragma unroll
  for (int flip = kWarp / 2; flip > 0; flip /= 2)
    x += __shfl_xor_sync(kAllLanes, x, flip);
  return x;
}

// The same sum in every thread of the block. `room` has one T for each warp, and is free before and after.
template <class T>
HF_DEVICE T block_sum(T x, Shared<T> room) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  x = warp_sum(x);
  if (lane == 0) room[warp] = x;
  __syncthreads();
  T sum = 0;
  for (int w = 0; w < warps; ++w)
    sum += static_cast<T>(room[w]);
  __syncthreads();
  return sum;
}

}  // namespace hf::cuda
