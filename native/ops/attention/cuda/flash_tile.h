// The pieces of attention in bf16 for heads of at most kFlashDims numbers (Dao 2023, "FlashAttention-2"),
// which flash_attention.cu and flash_attention_backward.cu are made of. Operands are packed first: bfloat16,
// heads apart, rows of D padded to 32, 64, 96 or 128. A block owns 64 rows of one sequence and head. A warp
// has 16 of them, whose operands stay in registers as fragments (tile.h). The other side passes through
// shared memory in tiles, one on its way while one is multiplied. The accumulators of one product are,
// rounded, the a fragments of the next, so that probabilities never leave registers.
#pragma once

#include "ops/attention/cuda/flash_attention.h"

namespace hf::cuda {

constexpr int kFlashRows = 64, kFlashThreads = 128;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

template <int D>
struct Flash {
  // Words from row to row: the 16 bytes of eight rows, as ldmatrix reads them, lie in 32 different banks.
  static constexpr int kStep = D / 2 + 4;
  static constexpr int kForwardTile = 64;
  static constexpr int kBackwardTile = D <= 64 ? 64 : 32;
  // Rows of a backward tile that are multiplied at a time. Wider ones leave registers for fewer blocks
  // (measured on an H200: 5 % slower).
  static constexpr int kPiece = 16;
  static constexpr int kForwardShared = 4 * kForwardTile * kStep * 4;
  static constexpr int kBackwardShared = 4 * kBackwardTile * kStep * 4;
  static constexpr int kStatistics = 2 * kBackwardTile;  // words: two numbers a query
  static constexpr int kSmall = D <= 64;
};

// Brings rows row0 … row0 + kCount − 1 of a packed head (zero from row_end on) into `tile`. Asynchronous.
template <int D, int kCount>
HF_DEVICE void load_packed(Shared<uint32_t> tile, const uint32_t* head, int step, int row0, int row_end) {
#pragma unroll
  for (int i = threadIdx.x; i < kCount * (D / 8); i += kFlashThreads) {
    const int r = i / (D / 8), w = i % (D / 8) * 4;
    const bool valid = row0 + r < row_end;
    cp_async_16(tile + (r * Flash<D>::kStep + w), head + (valid ? int64_t(row0 + r) * step + w : 0), valid);
  }
}

// The warp's 16 rows from row0 on as a fragments.
template <int D>
HF_DEVICE void load_own(uint32_t (&a)[D / 16][4], const uint32_t* head, int step, int row0, int row_end) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = row0 + g + 8 * (r % 2);
      a[k][r] = row < row_end ? head[int64_t(row) * step + 8 * k + t + 4 * (r / 2)] : 0;
    }
}

// s (16 × 8·NT) = own rows (16 × D) · tile (8·NT × D)ᵀ
template <int D, int NT>
HF_DEVICE void multiply_rows(float (&s)[NT][4], const uint32_t (&a)[D / 16][4], Shared<uint32_t> tile) {
  const int lane = threadIdx.x % kWarp;
  const Shared<uint32_t> mine = tile + ((lane % 8 + lane / 16 * 8) * Flash<D>::kStep + lane / 8 % 2 * 4);
#pragma unroll
  for (int j = 0; j < NT; ++j)
#pragma unroll
    for (int r = 0; r < 4; ++r)
      s[j][r] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
#pragma unroll
    for (int j = 0; j < NT; j += 2) {
      uint32_t b[2][2];
      ldmatrix_x4(b, mine + (8 * j * Flash<D>::kStep + 8 * k));
      mma_bf16(s[j], a[k], b[0]);
      mma_bf16(s[j + 1], a[k], b[1]);
    }
}

// out (16 × D) += p (16 × 8·NT) · tile (8·NT × D)
template <int D, int NT>
HF_DEVICE void multiply_columns(float (&out)[D / 8][4], const float (&p)[NT][4], Shared<uint32_t> tile) {
  const int lane = threadIdx.x % kWarp;
  const Shared<uint32_t> mine = tile + (lane % 16 * Flash<D>::kStep + lane / 16 * 4);
#pragma unroll
  for (int k = 0; k < NT; k += 2) {
    const uint32_t a[4] = {to_bf16x2(p[k][0], p[k][1]), to_bf16x2(p[k][2], p[k][3]),
                           to_bf16x2(p[k + 1][0], p[k + 1][1]), to_bf16x2(p[k + 1][2], p[k + 1][3])};
#pragma unroll
    for (int j = 0; j < D / 8; j += 2) {
      uint32_t b[2][2];
      ldmatrix_x4_trans(b, mine + (8 * k * Flash<D>::kStep + 4 * j));
      mma_bf16(out[j], a, b[0]);
      mma_bf16(out[j + 1], a, b[1]);
    }
  }
}

// Writes factor · x for the warp's 16 rows from row0 on, with factor0 for the first eight rows and factor1
// for the others.
template <int D>
HF_DEVICE void write_own(const float (&x)[D / 8][4], float factor0, float factor1, const Rows& out, int row0,
                         int row_end, int64_t dims) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row0 + g + 8 * half;
    if (row >= row_end) continue;
    const float factor = half ? factor1 : factor0;
    void* to = static_cast<char*>(out.data) + row * out.step * (out.bf16 ? 2 : 4);
    const bool pairs = reinterpret_cast<uintptr_t>(to) % (out.bf16 ? 4 : 8) == 0;
#pragma unroll
    for (int j = 0; j < D / 8; ++j) {
      const int d = 8 * j + 2 * t;
      const float low = factor * x[j][2 * half], high = factor * x[j][2 * half + 1];
      if (pairs && d + 1 < dims) {
        if (out.bf16)
          static_cast<uint32_t*>(to)[d / 2] = to_bf16x2(low, high);
        else
          static_cast<float2*>(to)[d / 2] = float2{low, high};
      } else {
        if (d < dims) out.put(row, d, low);
        if (d + 1 < dims) out.put(row, d + 1, high);
      }
    }
  }
}

struct FlashProblem {
  Problem p;
  PackedHeads q, k, v, d_y;
  float* statistics;  // (H, rows, 2): lse · log₂ e, and ⟨d_y, y⟩
  int64_t rows;
  float c;  // what turns ⟨q, k⟩ into an exponent of 2
};

// What a block works on. Rows are counted from the sequence's first one.
struct Place {
  int first, length;   // of the sequence
  int row0, warp_row;  // the first row of the block, and of the calling thread's warp
  int head, group;     // of queries (the first one, where the block owns keys), and of keys
};
HF_DEVICE Place place_of(const Problem& p, bool keys) {
  const RowTile tile = p.tiles[blockIdx.x];
  const int per_group = int(p.heads / p.groups), y = int(blockIdx.y), row0 = tile.row0 - tile.first;
  return {
      .first = tile.first,
      .length = tile.end - tile.first,
      .row0 = row0,
      .warp_row = row0 + int(threadIdx.x) / kWarp * 16,
      .head = keys ? y * per_group : y,
      .group = keys ? y : y / per_group,
  };
}

template <int value>
struct DimsTag {
  static constexpr int dims = value;
};
// body(DimsTag<D>) with D the padded `dims`.
template <class Body>
void with_dims(int64_t dims, const Body& body) {
  if (dims <= 32) return body(DimsTag<32>{});
  if (dims <= 64) return body(DimsTag<64>{});
  if (dims <= 96) return body(DimsTag<96>{});
  return body(DimsTag<128>{});
}

}  // namespace hf::cuda
