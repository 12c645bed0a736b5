// wide_logits.h: a tile of wide.h is 128 rows × 256 ids. A warpgroup has 64 rows, a quad of lanes all of a
// row's ids, so statistics need two shuffles and no shared memory. Compute bound: 2·C operations for each
// logit, against about ten instructions of the epilogue (7 % of the time at C 4096).
#include "backends/cuda/wide.h"
#include "ops/loss/cuda/wide_logits.h"

namespace hf::cuda {
namespace {

#ifdef HF_HOPPER_CODE
// What becomes of a tile of products. Lane t of a quad has ids column0 + 8 j + 2 t + r of two rows, `half` 0
// and 1, in the accumulators c[j][2 · half + r].
struct LogitsEpilogue {
  const WideLogits& p;

  template <class Product>
  HF_DEVICE void tile(const Product& product, int row0, int column0, int, char*) const {
    WideAccumulators c;
    product(0, c);
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    const int first = row0 + threadIdx.x % kWarpgroup / kWarp * 16 + g;
    const bool edge = column0 + kWideColumns > p.vocabulary;
    if (p.bias) add_bias(c, column0, t);
    if (edge) mask_outside(c, column0, t);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int n = first + 8 * half;
      const int target = n < p.rows ? p.targets[n * p.target_step] - column0 : -1;
      float most = scale(c, half);
      if (target >= 0 && target < kWideColumns) put_target(c, half, n, target - 2 * t);
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
      const Stats s = statistics(c, half, most, column0, t);
      if (t == 0 && n < p.rows) p.stats[int64_t(n) * p.tiles + column0 / kWideColumns] = s;
      if (p.z) store(c, half, n, column0, t);
    }
  }

  HF_DEVICE void add_bias(WideAccumulators& c, int column0, int t) const {
#pragma unroll
    for (int j = 0; j < 32; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int v = column0 + 8 * j + 2 * t + r;
        const float bias = v < p.vocabulary ? p.bias[v * p.bias_step] : 0.0f;
        c[j][r] += bias;
        c[j][2 + r] += bias;
      }
  }

  HF_DEVICE void mask_outside(WideAccumulators& c, int column0, int t) const {
#pragma unroll
    for (int j = 0; j < 32; ++j)
#pragma unroll
      for (int r = 0; r < 4; ++r)
        if (column0 + 8 * j + 2 * t + r % 2 >= p.vocabulary) c[j][r] = -INFINITY;
  }

  // 1/τ, and the lane's maximum.
  HF_DEVICE float scale(WideAccumulators& c, int half) const {
    float most = -INFINITY;
#pragma unroll
    for (int j = 0; j < 32; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float& x = c[j][2 * half + r];
        x *= p.inverse_temperature;
        most = fmaxf(most, x);
      }
    return most;
  }

  // The target's logit, where this lane has it: as id 8 j + r.
  HF_DEVICE void put_target(const WideAccumulators& c, int half, int n, int mine) const {
#pragma unroll
    for (int j = 0; j < 32; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        if (8 * j + r == mine) p.target_z[n] = c[j][2 * half + r];
  }

  // Of the row over the tile, from its maximum; the logits become z − most.
  HF_DEVICE Stats statistics(WideAccumulators& c, int half, float most, int column0, int t) const {
    const float base = most == -INFINITY ? 0.0f : most;
    Stats s{most, 0, 0, INT32_MAX};
#pragma unroll
    for (int j = 31; j >= 0; --j)
#pragma unroll
      for (int r = 1; r >= 0; --r) {
        float& x = c[j][2 * half + r];
        if (x == most) s.argmax = 8 * j + r;
        x = fmaxf(x - base, -1e30f);  // −∞: p = 0, and 0 · −∞ must not be
        const float e = exp2_approximate(x * 1.4426950408889634f);
        s.sum += e;
        s.moment += e * x;
      }
    s.argmax = s.argmax == INT32_MAX ? INT32_MAX : column0 + 2 * t + s.argmax;
#pragma unroll
    for (int flip = 1; flip < 4; flip *= 2) {
      s.sum += __shfl_xor_sync(kAllLanes, s.sum, flip);
      s.moment += __shfl_xor_sync(kAllLanes, s.moment, flip);
      const int other = __shfl_xor_sync(kAllLanes, s.argmax, flip);
      s.argmax = other < s.argmax ? other : s.argmax;
    }
    if (s.argmax >= p.vocabulary) s.argmax = INT32_MAX;  // a column outside, of a row of −∞ alone
    return s;
  }

  // Lanes trade, so that each writes four neighbours: even lanes of block j, odd ones of j + 1.
  HF_DEVICE void store(const WideAccumulators& c, int half, int n, int column0, int t) const {
    uint16_t* out = p.z + int64_t(n) * p.z_step + column0 + (t / 2) * 4 + (t % 2) * 8;
#pragma unroll
    for (int j = 0; j < 32; j += 2) {
      const uint32_t here = to_f16x2(c[j][2 * half], c[j][2 * half + 1]);
      const uint32_t next = to_f16x2(c[j + 1][2 * half], c[j + 1][2 * half + 1]);
      const uint32_t other = __shfl_xor_sync(kAllLanes, t % 2 ? here : next, 1);
      const uint2 four = t % 2 ? make_uint2(other, next) : make_uint2(here, other);
      if (n < p.rows && column0 + (t / 2) * 4 + (t % 2) * 8 + 8 * j < p.z_step)
        *reinterpret_cast<uint2*>(out + 8 * j) = four;
    }
  }
};
#endif

HF_WIDE_KERNEL
wide_logits_kernel(const __grid_constant__ WideOperands operands, const WideTiles tiles, const WideLogits p) {
#ifdef HF_HOPPER_CODE
  wide_kernel<1>({&operands}, tiles, LogitsEpilogue{p});
#endif
}

}  // namespace

void wide_logits(const PackedRows& hidden, const PackedRows& weight, int64_t depth, const WideLogits& problem,
                 Stream& stream) {
  WideOperands operands;
  operands.a = tensor_map(hidden.data, problem.rows, depth, hidden.step, kWideRows);
  operands.b = tensor_map(weight.data, problem.vocabulary, depth, weight.step, kWideColumns / 2);
  operands.depth_boxes = int(blocks(depth, kWideDepth));
  const WideTiles tiles{int(blocks(problem.rows, 2 * kWideRows)) * 2,
                        int(blocks(problem.vocabulary, kWideColumns)), false};
  launch("wide logits", wide_logits_kernel, wide_grid(tiles, stream), kWideThreads, kWideSharedBytes, stream,
         operands, tiles, problem);
}

}  // namespace hf::cuda
