// Rows of float32, four columns at a time, and sums over a block.
#pragma once

#include "core/view.h"
#include "cuda/platform.h"

namespace hf::cuda {

constexpr int kThreads = 256;  // of a block of the memory-bound kernels: enough loads in flight with any occupancy from 50 % on

struct Four { float v[4]; };

// A matrix (N, C) whose rows may be apart; `data` null: absent.
struct Rows {
  float* data = nullptr;
  int64_t step = 0;
  bool aligned = false;  // every row starts at a multiple of 16 bytes

  HF_DEVICE float* row(int64_t n) const { return data + n * step; }
  // Columns c … c + 3; those from `count` on are 0, or not written.
  HF_DEVICE Four load(int64_t n, int64_t c, int64_t count) const {
    Four out;
    const float* p = row(n) + c;
    if (aligned && c + 4 <= count) {
      const float4 q = *reinterpret_cast<const float4*>(p);
      out.v[0] = q.x, out.v[1] = q.y, out.v[2] = q.z, out.v[3] = q.w;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) out.v[i] = c + i < count ? p[i] : 0.0f;
    }
    return out;
  }
  HF_DEVICE void store(int64_t n, int64_t c, int64_t count, const Four& x) const {
    float* p = row(n) + c;
    if (aligned && c + 4 <= count) {
      *reinterpret_cast<float4*>(p) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (c + i < count) p[i] = x.v[i];
    }
  }
};

inline Rows rows_of(const View& v) {
  if (!v) return {};
  const int64_t step = v.rank == 2 ? v.stride[0] : 0;
  return {v.as<float>(), step, reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && step % 4 == 0};
}

template <class T>
HF_DEVICE T warp_sum(T x) {
#pragma unroll
  for (int flip = kWarp / 2; flip > 0; flip /= 2) x += __shfl_xor_sync(kAllLanes, x, flip);
  return x;
}

// The same sum in every thread of the block. `room`: one T per warp, free before and after.
template <class T>
HF_DEVICE T block_sum(T x, Shared<T> room) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  x = warp_sum(x);
  if (lane == 0) room[warp] = x;
  __syncthreads();
  T sum = 0;
  for (int w = 0; w < warps; ++w) sum += static_cast<T>(room[w]);
  __syncthreads();
  return sum;
}

}  // namespace hf::cuda
