// Matrix products of a block, tile by tile. This is the one place where operands are read, rounded and
// multiplied: everything that is a product (gemm, attention, Gram tiles, per-sample gradients, the
// classifier) is built from load_tile and warp_product, or from block_product, which puts the two together.
//
// The product is always c[m, n] += Σ_k a[m, k] b[n, k]: both operands lie with the summed index along the
// row. A block computes a rectangle of c. It walks along k and brings, at each step, a *tile* of a and one of
// b from global into shared memory.
//
// A tile is `rows` × 32 words of 4 bytes, row by row, 36 words apart. A word holds one float32 (which stays
// exact, or is rounded to tf32 when it is read) or two bfloat16. Why 36: the eight rows that a warp reads
// together as a fragment, four words each, then lie in 32 different banks of shared memory, and a row still
// starts at a multiple of 16 bytes.
//
// A *fragment* is a lane's share of a small matrix in registers. A warp accumulates 16·MT × 8·NT numbers of
// c, in pieces of 16 × 8. Of every piece, lane 4 g + t holds the entries (g, 2t), (g, 2t + 1), (g + 8, 2t)
// and (g + 8, 2t + 1), whatever the arithmetic is: mma.sync m16n8k8 (tf32), m16n8k16 (bf16), or float32
// multiply-adds in the same places (exact).
#pragma once

#include "backends/cuda/platform.h"
#include "backends/cuda/stream.h"
#include "core/view.h"
#include "runtime/run.h"

namespace hf::cuda {

constexpr int kTileWords = 32;             // of a tile's row
constexpr int kTileStep = kTileWords + 4;  // words from row to row
template <Math math>
constexpr int kPerWord = math == Math::kBf16 ? 2 : 1;
template <Math math>
constexpr int kTileDepth = kTileWords * kPerWord<math>;  // numbers of a tile's row

// ---- operands ---------------------------------------------------------------------------------------------

// A matrix (rows, depth) in global memory, with any strides: entry (r, k) is data[r' · row_step + k' ·
// depth_step]. One of r' and k' may go through an index, where it is r or k otherwise.
struct Operand {
  const void* data = nullptr;
  int64_t row_step = 0;
  int64_t depth_step = 0;
  const int32_t* row_index = nullptr;
  const int32_t* depth_index = nullptr;
  bool bf16 = false;
  bool vectors = false;  // float32 with contiguous depth, and rows at multiples of 16 bytes
};

inline Operand operand_of(const View& v) {  // (rows, depth)
  Operand o;
  o.data = v.data;
  o.row_step = v.stride[0];
  o.depth_step = v.stride[1];
  o.bf16 = v.dtype == DType::kBF16;
  const bool rows_aligned = o.row_step % 4 == 0 && reinterpret_cast<uintptr_t>(v.data) % 16 == 0;
  o.vectors = !o.bf16 && o.depth_step == 1 && rows_aligned;
  return o;
}
inline Operand operand_of(const View& v, const View& row_index) {
  Operand o = operand_of(v);
  o.row_index = row_index.as<const int32_t>();
  return o;
}

HF_DEVICE int64_t offset_in(const Operand& o, int64_t row, int64_t k) {
  return (o.row_index ? o.row_index[row] : row) * o.row_step +
         (o.depth_index ? o.depth_index[k] : k) * o.depth_step;
}
HF_DEVICE float number_at(const Operand& o, int64_t offset) {
  return o.bf16 ? __uint_as_float(uint32_t(static_cast<const uint16_t*>(o.data)[offset]) << 16)
                : static_cast<const float*>(o.data)[offset];
}

// ---- from global to shared memory -------------------------------------------------------------------------

// Where a thread's i-th word of a tile goes. Neighbouring threads take neighbouring numbers in memory: along
// the depth, or along the rows where those are contiguous.
struct TilePlace {
  int row, word;
};
template <int kRows>
HF_DEVICE TilePlace tile_place(int i, bool rows_first) {
  return {rows_first ? i % kRows : i / kTileWords, rows_first ? i / kRows : i % kTileWords};
}

// load_tile for `vectors`: four numbers at a time, one by one at the end of the depth.
template <int kRows, int kBlock>
HF_DEVICE void copy_vectors(Shared<uint32_t> tile, const Operand& o, int64_t row0, int64_t row_end,
                            int64_t k0, int64_t k_end) {
  const float* data = static_cast<const float*>(o.data);
  for (int i = threadIdx.x; i < kRows * (kTileWords / 4); i += kBlock) {
    const int r = i / (kTileWords / 4), w = i % (kTileWords / 4) * 4;
    const int64_t row = row0 + r, k = k0 + w;
    const bool valid = row < row_end && k < k_end;
    if (!valid || k + 4 <= k_end) {
      cp_async_16(tile + (r * kTileStep + w), valid ? data + offset_in(o, row, k) : data, valid);
    } else {
      for (int j = 0; j < 4; ++j) {
        const bool inside = k + j < k_end;
        cp_async_4(tile + (r * kTileStep + w + j), inside ? data + offset_in(o, row, k + j) : data, inside);
      }
    }
  }
}

// load_tile for any float32 operand that is not rounded on the way.
template <int kRows, int kBlock>
HF_DEVICE void copy_words(Shared<uint32_t> tile, const Operand& o, int64_t row0, int64_t row_end, int64_t k0,
                          int64_t k_end) {
  const float* data = static_cast<const float*>(o.data);
  const bool rows_first = o.row_step == 1;
  for (int i = threadIdx.x; i < kRows * kTileWords; i += kBlock) {
    const auto [r, w] = tile_place<kRows>(i, rows_first);
    const int64_t row = row0 + r, k = k0 + w;
    const bool valid = row < row_end && k < k_end;
    cp_async_4(tile + (r * kTileStep + w), valid ? data + offset_in(o, row, k) : data, valid);
  }
}

// load_tile for the rest: numbers pass through registers, where they are widened or rounded.
template <Math math, int kRows, int kBlock>
HF_DEVICE void convert_words(Shared<uint32_t> tile, const Operand& o, int64_t row0, int64_t row_end,
                             int64_t k0, int64_t k_end) {
  const bool rows_first = o.row_step == 1;
  for (int i = threadIdx.x; i < kRows * kTileWords; i += kBlock) {
    const auto [r, w] = tile_place<kRows>(i, rows_first);
    const int64_t row = row0 + r, k = k0 + int64_t(w) * kPerWord<math>;
    float low = 0, high = 0;
    if (row < row_end && k < k_end) low = number_at(o, offset_in(o, row, k));
    if (math == Math::kBf16 && row < row_end && k + 1 < k_end) high = number_at(o, offset_in(o, row, k + 1));
    tile[r * kTileStep + w] = math == Math::kBf16 ? to_bf16x2(low, high) : __float_as_uint(low);
  }
}

// Rows row0 … row0 + kRows − 1 (zero from row_end on) and depths k0 … (zero from k_end on) into `tile`, by
// all kBlock threads of the block. Where the words are the numbers themselves the copy is asynchronous: the
// caller commits it, waits for it, and comes to a barrier.
template <Math math, int kRows, int kBlock>
HF_DEVICE void load_tile(Shared<uint32_t> tile, const Operand& o, int64_t row0, int64_t row_end, int64_t k0,
                         int64_t k_end) {
  if (math != Math::kBf16 && !o.bf16) {
    if (o.vectors && !o.depth_index && k0 % 4 == 0)
      copy_vectors<kRows, kBlock>(tile, o, row0, row_end, k0, k_end);
    else
      copy_words<kRows, kBlock>(tile, o, row0, row_end, k0, k_end);
    return;
  }
  convert_words<math, kRows, kBlock>(tile, o, row0, row_end, k0, k_end);
}

// ---- a warp's product -------------------------------------------------------------------------------------

template <Math math>
HF_DEVICE uint32_t fragment_word(uint32_t word) {
  return math == Math::kTf32 ? to_tf32(__uint_as_float(word)) : word;
}

// warp_product in exact float32: four words of depth at a time.
template <int MT, int NT>
HF_DEVICE void multiply_exact(float (&acc)[MT][NT][4], Shared<uint32_t> a, Shared<uint32_t> b, int a_step,
                              int b_step, int words) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  for (int w = 0; w < words; w += 4) {
    Words4 x[MT][2], y[NT][2];
#pragma unroll
    for (int i = 0; i < MT; ++i) {
      x[i][0] = load_words4(a, (16 * i + g) * a_step + w);
      x[i][1] = load_words4(a, (16 * i + g + 8) * a_step + w);
    }
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      y[j][0] = load_words4(b, (8 * j + 2 * t) * b_step + w);
      y[j][1] = load_words4(b, (8 * j + 2 * t + 1) * b_step + w);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int i = 0; i < MT; ++i)
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
          for (int r = 0; r < 4; ++r)
            acc[i][j][r] =
                fmaf(__uint_as_float(x[i][r / 2].v[k]), __uint_as_float(y[j][r % 2].v[k]), acc[i][j][r]);
  }
}

// warp_product on the tensor cores: eight words of depth at a time, which one mma.sync takes.
template <Math math, int MT, int NT>
HF_DEVICE void multiply_fragments(float (&acc)[MT][NT][4], Shared<uint32_t> a, Shared<uint32_t> b, int a_step,
                                  int b_step, int words) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  for (int w = 0; w < words; w += 8) {
    uint32_t y[NT][2];
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      y[j][0] = fragment_word<math>(b[(8 * j + g) * b_step + w + t]);
      y[j][1] = fragment_word<math>(b[(8 * j + g) * b_step + w + t + 4]);
    }
#pragma unroll
    for (int i = 0; i < MT; ++i) {
      uint32_t x[4];
      x[0] = fragment_word<math>(a[(16 * i + g) * a_step + w + t]);
      x[1] = fragment_word<math>(a[(16 * i + g + 8) * a_step + w + t]);
      x[2] = fragment_word<math>(a[(16 * i + g) * a_step + w + t + 4]);
      x[3] = fragment_word<math>(a[(16 * i + g + 8) * a_step + w + t + 4]);
#pragma unroll
      for (int j = 0; j < NT; ++j) {
        if constexpr (math == Math::kTf32)
          mma_tf32(acc[i][j], x, y[j]);
        else
          mma_bf16(acc[i][j], x, y[j]);
      }
    }
  }
}

// acc += a (16·MT rows) × b (8·NT rows) over `words` words of depth, a multiple of 8. a and b begin at the
// warp's first row.
template <Math math, int MT, int NT>
HF_DEVICE void warp_product(float (&acc)[MT][NT][4], Shared<uint32_t> a, Shared<uint32_t> b, int a_step,
                            int b_step, int words) {
  if constexpr (math == Math::kExact)
    multiply_exact(acc, a, b, a_step, b_step, words);
  else
    multiply_fragments<math>(acc, a, b, a_step, b_step, words);
}

template <int MT, int NT>
HF_DEVICE void clear(float (&acc)[MT][NT][4]) {
#pragma unroll
  for (int i = 0; i < MT; ++i)
#pragma unroll
    for (int j = 0; j < NT; ++j)
#pragma unroll
      for (int r = 0; r < 4; ++r)
        acc[i][j][r] = 0;
}

// ---- a block's product ------------------------------------------------------------------------------------

// How a block's tile of c, kRows × kColumns, is divided among warps, which stand side by side in kWarpRows
// rows of warps.
template <int kRows_, int kColumns_, int kWarpRows_, int kWarpColumns_>
struct BlockShape {
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kWarpRows = kWarpRows_;
  static constexpr int kWarpColumns = kWarpColumns_;
  static constexpr int kThreads = kWarp * kWarpRows * kWarpColumns;
  static constexpr int kMT = kRows / kWarpRows / 16;
  static constexpr int kNT = kColumns / kWarpColumns / 8;
  static constexpr int kStages = 3;
  static constexpr int kStageWords = (kRows + kColumns) * kTileStep;
  static constexpr int kSharedBytes = kStages * kStageWords * 4;
  // So many blocks of a multiprocessor leave each thread registers enough (168, or all 255). The compiler is
  // told, because it spills a few otherwise.
  static constexpr int kMinBlocks = kThreads <= 128 ? 3 : 1;

  // First row and column of the calling thread's warp.
  HF_DEVICE static int warp_row() { return int(threadIdx.x) / kWarp / kWarpColumns * (16 * kMT); }
  HF_DEVICE static int warp_column() { return int(threadIdx.x) / kWarp % kWarpColumns * (8 * kNT); }
};
using SmallBlock = BlockShape<64, 64, 2, 2>;    // 4 warps of 32 × 32
using LargeBlock = BlockShape<128, 128, 2, 4>;  // 8 warps of 64 × 32

// acc += a[row0 …, k] b[column0 …, k] over k in [k_begin, k_end). Shared memory holds three stages, two of
// them on their way while one is multiplied. Ends with a barrier, so that `stages` is free again. `active`
// says whether the thread's warp multiplies; it helps to load in any case.
template <Math math, class Shape>
HF_DEVICE void block_product(float (&acc)[Shape::kMT][Shape::kNT][4], Shared<uint32_t> stages,
                             const Operand& a, int64_t row0, int64_t row_end, const Operand& b,
                             int64_t column0, int64_t column_end, int64_t k_begin, int64_t k_end,
                             bool active = true) {
  constexpr int kDepth = kTileDepth<math>;
  const int64_t tiles = (k_end - k_begin + kDepth - 1) / kDepth;
  const auto load = [&](int64_t tile) {
    if (tile < tiles) {
      const Shared<uint32_t> stage = stages + int(tile % Shape::kStages) * Shape::kStageWords;
      const int64_t k = k_begin + tile * kDepth;
      load_tile<math, Shape::kRows, Shape::kThreads>(stage, a, row0, row_end, k, k_end);
      load_tile<math, Shape::kColumns, Shape::kThreads>(stage + Shape::kRows * kTileStep, b, column0,
                                                        column_end, k, k_end);
    }
    cp_async_commit();
  };
  for (int s = 0; s < Shape::kStages - 1; ++s)
    load(s);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    cp_async_wait<Shape::kStages - 2>();
    __syncthreads();  // this tile has arrived, and the one before it is not needed any more
    load(tile + Shape::kStages - 1);
    const Shared<uint32_t> stage = stages + int(tile % Shape::kStages) * Shape::kStageWords;
    if (active)
      warp_product<math>(acc, stage + Shape::warp_row() * kTileStep,
                         stage + (Shape::kRows + Shape::warp_column()) * kTileStep, kTileStep, kTileStep,
                         kTileWords);
  }
  cp_async_wait<0>();
  __syncthreads();
}

// body(row, column, value&) for every entry that the calling thread holds, within the block's tile.
template <class Shape, class Body>
HF_DEVICE void each_entry(float (&acc)[Shape::kMT][Shape::kNT][4], const Body& body) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < Shape::kMT; ++i)
#pragma unroll
    for (int j = 0; j < Shape::kNT; ++j)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int row = Shape::warp_row() + 16 * i + g + 8 * (r / 2);
        const int column = Shape::warp_column() + 8 * j + 2 * t + r % 2;
        body(row, column, acc[i][j][r]);
      }
}

template <Math value>
struct MathTag {
  static constexpr Math math = value;
};
// body(MathTag<math>) for the run's math, so that the body's kernels know it when they are compiled.
template <class Body>
void with_math(Math math, const Body& body) {
  switch (math) {
    case Math::kExact: return body(MathTag<Math::kExact>{});
    case Math::kTf32: return body(MathTag<Math::kTf32>{});
    case Math::kBf16: return body(MathTag<Math::kBf16>{});
  }
}

}  // namespace hf::cuda
