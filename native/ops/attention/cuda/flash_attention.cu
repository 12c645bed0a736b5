// Attention in bf16: packing and the forward pass (flash_tile.h). A block owns 64 queries of one sequence and
// head, a warp 16 of them. Shared memory: 2 stages × 64 keys and values of 2D + 16 bytes, 36 KiB for D 64 and
// 68 KiB for D 128. Bound by shared memory: a tile of 64 keys is 256·D bytes from L2 for 4·64²·D operations,
// 64 a byte, which is enough. But each 16 × 8 × 16 mma needs 256 bytes of shared memory, and at 128 bytes a
// cycle that is 2048 operations a cycle, half of what Hopper's tensor cores have. At T 512 memory weighs as
// much: 24·D bytes a row and head, packing counted in.
#include "backends/cuda/rows.h"
#include "ops/attention/cuda/flash_tile.h"

namespace hf::cuda {
namespace {

// A thread packs 8 numbers of tensor blockIdx.y: reads 32 bytes, writes 16. Memory bound.
template <int D>
__global__ void __launch_bounds__(kThreads) pack_kernel(PackSources sources, int64_t rows, int64_t dims) {
  const PackSource s = sources.source[blockIdx.y];
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const uint32_t item = uint32_t(i / (D / 8)), heads = uint32_t(s.heads);
  const int64_t row = item / heads, head = item % heads, d = i % (D / 8) * 8;
  if (row >= rows) return;
  const Rows from = s.from.rows(row, head);
  const Four low = from.load(0, d, dims), high = from.load(0, d + 4, dims);
  const auto pair = [&](const Four& x, int i) { return to_bf16x2(s.factor * x.v[i], s.factor * x.v[i + 1]); };
  store_whole(s.to + (head * rows + row) * (D / 2) + d / 2,
              make_uint4(pair(low, 0), pair(low, 2), pair(high, 0), pair(high, 2)));
}

// Online softmax in exponents of 2: f.c > 0 here, since the sign of the scale is in the packed q.
template <int D, int NT>
HF_DEVICE void weigh_scores(float (&s)[NT][4], float (&out)[D / 8][4], float (&most)[2], float (&total)[2],
                            float c) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float best = most[half];  // finite from the first tile on: every row sees key 0
#pragma unroll
    for (int j = 0; j < NT; ++j)
      best = fmaxf(best, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
    best = quad_max(best);
    const float shrink = exp2_approximate((most[half] - best) * c), offset = best * c;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < NT; ++j)
#pragma unroll
      for (int r = 2 * half; r < 2 * half + 2; ++r) {
        s[j][r] = exp2_approximate(fmaf(s[j][r], c, -offset));
        sum += s[j][r];
      }
#pragma unroll
    for (int j = 0; j < D / 8; ++j) {
      out[j][2 * half] *= shrink;
      out[j][2 * half + 1] *= shrink;
    }
    total[half] = fmaf(total[half], shrink, sum);
    most[half] = best;
  }
}

template <int D>
__global__ void __launch_bounds__(kFlashThreads, Flash<D>::kSmall ? 4 : 2) forward_kernel(FlashProblem f) {
  constexpr int kTile = Flash<D>::kForwardTile;
  constexpr int NT = kTile / 8;
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
  uint32_t q[D / 16][4];
  load_own<D>(q, f.q.rows(at.head, at.first), f.q.step, at.warp_row, at.length);
  float out[D / 8][4] = {};
  float most[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};  // total: of the thread's own columns
  for (int j0 = 0; j0 < keys; j0 += kTile) {
    cp_async_wait<0>();
    __syncthreads();  // this tile has arrived, and the one before it is not needed any more
    if (j0 + kTile < keys) load(j0 + kTile);
    const Shared<uint32_t> stage = stages + j0 / kTile % 2 * 2 * kWords;
    float s[NT][4];
    multiply_rows<D, NT>(s, q, stage);
    if (j0 + kTile > at.warp_row) {
#pragma unroll
      for (int j = 0; j < NT; ++j)
#pragma unroll
        for (int r = 0; r < 4; ++r)
          if (j0 + 8 * j + 2 * t + r % 2 > at.warp_row + g + 8 * (r / 2)) s[j][r] = -INFINITY;
    }
    weigh_scores<D, NT>(s, out, most, total, f.c);
    multiply_columns<D, NT>(out, s, stage + kWords);
  }
  total[0] = quad_sum(total[0]);
  total[1] = quad_sum(total[1]);
  write_own<D>(out, 1 / total[0], 1 / total[1], f.p.out.rows(at.first, at.head), at.warp_row, at.length,
               f.p.dims);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = at.warp_row + g + 8 * half;
    if (f.p.lse_out && t == 0 && row < at.length)
      f.p.lse_out[(at.first + row) * f.p.lse_step + at.head] = most[half] * f.c * kLn2 + logf(total[half]);
  }
}

}  // namespace

PackedHeads Packing::add(const HeadMatrices& from, int64_t heads, float factor) {
  PackedHeads out{};
  with_dims(dims_, [&](auto tag) {
    constexpr int D = decltype(tag)::dims;
    const bool vectors = reinterpret_cast<uintptr_t>(from.data) % 16 == 0 && from.step % 8 == 0 &&
                         from.head_step % 8 == 0 && from.step <= INT32_MAX;
    if (from.bf16 && factor == 1 && dims_ == D && vectors) {
      out = {static_cast<const uint32_t*>(from.data), from.head_step / 2, int(from.step / 2)};
      return;
    }
    uint32_t* to = device_scratch<uint32_t>(run_, rows_ * heads * (D / 2));
    sources_.source[count_++] = {from, to, heads, factor};
    most_heads_ = heads > most_heads_ ? heads : most_heads_;
    out = {to, rows_ * (D / 2), D / 2};
  });
  return out;
}
void Packing::start(const char* name) {
  if (count_ == 0) return;
  with_dims(dims_, [&](auto tag) {
    constexpr int D = decltype(tag)::dims;
    const dim3 grid(blocks(rows_ * most_heads_ * (D / 8), kThreads), unsigned(count_));
    launch(name, pack_kernel<D>, grid, kThreads, 0, stream_of(run_), sources_, rows_, dims_);
  });
}

void flash_forward(const Problem& p, int64_t rows, int64_t tiles, Run& run) {
  with_dims(p.dims, [&](auto tag) {
    constexpr int D = decltype(tag)::dims;
    FlashProblem f{};
    f.p = p;
    f.rows = rows;
    f.c = p.scale == 0 ? 1.0f : fabsf(p.scale) * kLog2E;
    Packing packing(p.dims, rows, run);
    f.q = packing.add(p.q, p.heads, p.scale == 0 ? 0.0f : p.scale < 0 ? -1.0f : 1.0f);
    f.k = packing.add(p.k, p.groups);
    f.v = packing.add(p.v, p.groups);
    packing.start("attention");
    launch("attention", forward_kernel<D>, dim3(unsigned(tiles), unsigned(p.heads)), kFlashThreads,
           Flash<D>::kForwardShared, stream_of(run), f);
  });
}

}  // namespace hf::cuda
