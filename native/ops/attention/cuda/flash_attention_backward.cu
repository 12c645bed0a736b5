// Attention in bf16, backward (flash_tile.h). In d_q_kernel a block owns 64 queries; it also leaves log Σ exp
// and ⟨d_y, y⟩ for d_kv_kernel. There a block owns 64 keys, over the query heads that share them, so that no
// atomics are needed. A warp has 16 of the block's rows. Shared memory: 2 stages × 2 tiles of 64 (D > 64: 32)
// rows of 2D + 16 bytes, 36 KiB for D 64. Bound as the forward pass is, for 6·64²·D and 8·64²·D operations a
// tile; memory takes 44·D bytes a row and head, packing counted in.
#include "ops/attention/cuda/flash_tile.h"

namespace hf::cuda {
namespace {

// ⟨d_y, y⟩ of the warp's rows, with the rounded d_y that the products see: where one key has all the
// probability, y is v, and the difference of the two products is nothing but rounding.
template <int D>
HF_DEVICE void mean_of_own(float (&mean)[2], const uint32_t (&d_y)[D / 16][4], const Rows& y, int row0,
                           int row_end, int64_t dims) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const bool pairs =
      reinterpret_cast<uintptr_t>(y.data) % (y.bf16 ? 4 : 8) == 0 && y.step % 2 == 0 && dims % 2 == 0;
  mean[0] = mean[1] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = row0 + g + 8 * (r % 2);
      const int d = 16 * k + 8 * (r / 2) + 2 * t;
      if (row >= row_end || d >= dims) continue;
      float2 pair;
      if (!pairs) {
        pair = float2{y.at(row, d), d + 1 < dims ? y.at(row, d + 1) : 0.0f};
      } else if (y.bf16) {
        const uint32_t word = static_cast<const uint32_t*>(y.data)[(row * y.step + d) / 2];
        pair = float2{__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
      } else {
        pair = static_cast<const float2*>(y.data)[(row * y.step + d) / 2];
      }
      mean[r % 2] = fmaf(__uint_as_float(d_y[k][r] << 16), pair.x, mean[r % 2]);
      mean[r % 2] = fmaf(__uint_as_float(d_y[k][r] & 0xffff0000u), pair.y, mean[r % 2]);
    }
  mean[0] = quad_sum(mean[0]);
  mean[1] = quad_sum(mean[1]);
}

// d_q = scale Σ_j dS k,  dS = P ∘ (d_y vᵀ − mean)
template <int D>
__global__ void __launch_bounds__(kFlashThreads, Flash<D>::kSmall ? 4 : 2) d_q_kernel(FlashProblem f) {
  constexpr int kTile = Flash<D>::kBackwardTile;
  constexpr int kPiece = Flash<D>::kPiece;
  constexpr int NT = kPiece / 8;
  constexpr int kWords = kTile * Flash<D>::kStep;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(4 * kWords);
  const Place at = place_of(f.p, false);
  const uint32_t *k = f.k.rows(at.group, at.first), *v = f.v.rows(at.group, at.first);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int keys = at.row0 + kFlashRows < at.length ? at.row0 + kFlashRows : at.length;
  const auto load = [&](int j0) {
    const Shared<uint32_t> stage = stages + j0 / kTile % 2 * 2 * kWords;
    load_packed<D, kTile>(stage, k, f.k.step, j0, keys);
    load_packed<D, kTile>(stage + kWords, v, f.v.step, j0, keys);
    cp_async_commit();
  };
  load(0);
  uint32_t q[D / 16][4], d_y[D / 16][4];
  load_own<D>(q, f.q.rows(at.head, at.first), f.q.step, at.warp_row, at.length);
  load_own<D>(d_y, f.d_y.rows(at.head, at.first), f.d_y.step, at.warp_row, at.length);
  float mean[2], lse[2] = {0, 0};
  mean_of_own<D>(mean, d_y, f.p.y.rows(at.first, at.head), at.warp_row, at.length, f.p.dims);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = at.warp_row + g + 8 * half;
    if (row >= at.length) continue;
    lse[half] = f.p.lse[(at.first + row) * f.p.lse_step + at.head] * kLog2E;
    if (t == 0)
      *reinterpret_cast<float2*>(f.statistics + (at.head * f.rows + at.first + row) * 2) =
          float2{lse[half], mean[half]};
  }
  float out[D / 8][4] = {};
  for (int j0 = 0; j0 < keys; j0 += kTile) {
    cp_async_wait<0>();
    __syncthreads();  // this tile has arrived, and the one before it is not needed any more
    if (j0 + kTile < keys) load(j0 + kTile);
    const Shared<uint32_t> stage = stages + j0 / kTile % 2 * 2 * kWords;
#pragma unroll 1
    for (int c = 0; c < kTile; c += kPiece) {
      const Shared<uint32_t> k = stage + c * Flash<D>::kStep, v = k + kWords;
      const bool diagonal = j0 + c + kPiece > at.warp_row;
      float s[NT][4], d_p[NT][4];
      multiply_rows<D, NT>(s, q, k);
      multiply_rows<D, NT>(d_p, d_y, v);
#pragma unroll
      for (int j = 0; j < NT; ++j)
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const float slope = exp2_approximate(fmaf(s[j][r], f.c, -lse[r / 2])) * (d_p[j][r] - mean[r / 2]);
          s[j][r] = diagonal && j0 + c + 8 * j + 2 * t + r % 2 > at.warp_row + g + 8 * (r / 2) ? 0.0f : slope;
        }
      multiply_columns<D, NT>(out, s, k);
    }
  }
  write_own<D>(out, f.p.scale, f.p.scale, f.p.out.rows(at.first, at.head), at.warp_row, at.length, f.p.dims);
}

// d_k = scale Σ_i dSᵀ q,  d_v = Σ_i Pᵀ d_y. Rows are keys here, columns queries. Queries past the end have q, d_y
// and statistics 0, and add nothing.
template <int D>
__global__ void __launch_bounds__(kFlashThreads, Flash<D>::kSmall ? 3 : 2) d_kv_kernel(FlashProblem f) {
  constexpr int kTile = Flash<D>::kBackwardTile;
  constexpr int kPiece = Flash<D>::kPiece;
  constexpr int NT = kPiece / 8;
  constexpr int kWords = kTile * Flash<D>::kStep;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(4 * kWords);
  const Shared<uint32_t> statistics = memory.take<uint32_t>(2 * Flash<D>::kStatistics);
  const Place at = place_of(f.p, true);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int tiles = (at.length - at.row0 + kTile - 1) / kTile, count = tiles * int(f.p.heads / f.p.groups);
  const auto load = [&](int n) {
    const int head = at.head + n / tiles, i0 = at.row0 + n % tiles * kTile;
    const Shared<uint32_t> stage = stages + n % 2 * 2 * kWords;
    load_packed<D, kTile>(stage, f.q.rows(head, at.first), f.q.step, i0, at.length);
    load_packed<D, kTile>(stage + kWords, f.d_y.rows(head, at.first), f.d_y.step, i0, at.length);
    if (int(threadIdx.x) < Flash<D>::kStatistics) {
      const bool valid = i0 + int(threadIdx.x) / 2 < at.length;
      cp_async_4(statistics + (n % 2 * Flash<D>::kStatistics + int(threadIdx.x)),
                 f.statistics + (valid ? (head * f.rows + at.first + i0) * 2 + threadIdx.x : 0), valid);
    }
    cp_async_commit();
  };
  load(0);
  uint32_t k[D / 16][4], v[D / 16][4];
  load_own<D>(k, f.k.rows(at.group, at.first), f.k.step, at.warp_row, at.length);
  load_own<D>(v, f.v.rows(at.group, at.first), f.v.step, at.warp_row, at.length);
  float d_k[D / 8][4] = {}, d_v[D / 8][4] = {};
  for (int n = 0; n < count; ++n) {
    cp_async_wait<0>();
    __syncthreads();  // this tile has arrived, and the one before it is not needed any more
    if (n + 1 < count) load(n + 1);
    const Shared<uint32_t> stage = stages + n % 2 * 2 * kWords;
    const Shared<uint32_t> own_statistics = statistics + n % 2 * Flash<D>::kStatistics;
#pragma unroll 1
    for (int c = 0; c < kTile; c += kPiece) {
      const int i0 = at.row0 + n % tiles * kTile + c;
      const Shared<uint32_t> q = stage + c * Flash<D>::kStep, d_y = q + kWords;
      const bool diagonal = i0 < at.warp_row + 15;
      float s[NT][4], d_p[NT][4];
      multiply_rows<D, NT>(s, k, q);
      multiply_rows<D, NT>(d_p, v, d_y);
#pragma unroll
      for (int j = 0; j < NT; ++j) {
        const Words4 two = load_words4(own_statistics, (c + 8 * j + 2 * t) * 2);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const bool hidden = diagonal && i0 + 8 * j + 2 * t + r % 2 < at.warp_row + g + 8 * (r / 2);
          const float probability =
              exp2_approximate(fmaf(s[j][r], f.c, -__uint_as_float(two.v[2 * (r % 2)])));
          s[j][r] = hidden ? 0.0f : probability;
          d_p[j][r] = s[j][r] * (d_p[j][r] - __uint_as_float(two.v[2 * (r % 2) + 1]));
        }
      }
      multiply_columns<D, NT>(d_v, s, d_y);
      multiply_columns<D, NT>(d_k, d_p, q);
    }
  }
  write_own<D>(d_k, f.p.scale, f.p.scale, f.p.d_k.rows(at.first, at.group), at.warp_row, at.length, f.p.dims);
  write_own<D>(d_v, 1, 1, f.p.d_v.rows(at.first, at.group), at.warp_row, at.length, f.p.dims);
}

}  // namespace

void flash_backward(const Problem& p, int64_t rows, int64_t tiles, Run& run) {
  with_dims(p.dims, [&](auto tag) {
    constexpr int D = decltype(tag)::dims;
    FlashProblem f{};
    f.p = p;
    f.rows = rows;
    f.c = p.scale * kLog2E;
    f.statistics = device_scratch<float>(run, rows * p.heads * 2);
    Packing packing(p.dims, rows, run);
    f.q = packing.add(p.q, p.heads);
    f.k = packing.add(p.k, p.groups);
    f.v = packing.add(p.v, p.groups);
    f.d_y = packing.add(p.d_y, p.heads);
    packing.start("attention_backward");
    const dim3 queries(unsigned(tiles), unsigned(p.heads)), keys(unsigned(tiles), unsigned(p.groups));
    launch("attention_backward", d_q_kernel<D>, queries, kFlashThreads, Flash<D>::kBackwardShared,
           stream_of(run), f);
    launch("attention_backward", d_kv_kernel<D>, keys, kFlashThreads,
           Flash<D>::kBackwardShared + 2 * Flash<D>::kStatistics * 4, stream_of(run), f);
  });
}

}  // namespace hf::cuda
