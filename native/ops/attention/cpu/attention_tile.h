// What the attention kernels share: tiles of one sequence and one key/value head, a register-blocked product,
// tasks.
//
// Tiles begin at multiples of kTile from the start of their sequence, and inside a product every element of
// the result is one chain of fused multiply-adds over ascending depth. So a row's numbers depend on its own
// sequence up to itself and on nothing else: not on the batch, the thread count, or the tokens after it.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"
#include "core/fail.h"

namespace hf::HF_ISA {
namespace {

// Result block in registers: kRows × 2 vectors, plus 2 for B and 1 for A. AVX-512 has 32 vector registers,
// the others 16 (also where 64-byte vectors are emulated on AVX2: blocks of 12 rows would take minutes to
// compile there).
#if defined(__AVX512F__)
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif

constexpr int64_t kKeyTile = 128;  // keys between two rescalings of the online softmax

HF_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
HF_INLINE int64_t round_up(int64_t x, int64_t unit) {
  return (x + unit - 1) / unit * unit;
}
// Distance of the rows of a packed tile: whole vectors and an odd number of 64-byte lines, so that a column
// meets every cache set.
HF_INLINE int64_t tile_stride(int64_t columns) {
  return (round_up(columns, 16) / 16 | 1) * 16;
}

// C (rows × columns) = beta ∘ C + alpha ∘ (A B), alpha and beta one number per row; without beta C is not
// read. A's elements are a_row and a_step apart, B's and C's rows b_row and c_row. B's rows are whole
// vectors, C's need not be.
struct Product {
  int64_t depth;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  const float* alpha;
  const float* beta;
};

// One block of R rows and V vectors; `columns` of its numbers are C's.
template <int R, int V>
HF_NOINLINE void block(const Product& p, const float* b, float* c, int64_t columns) {
  Floats sum[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      sum[r][v] = zero();
  const float* a = p.a;
  const int64_t depth = p.depth, a_row = p.a_row, a_step = p.a_step, b_row = p.b_row;
  for (int64_t k = 0; k < depth; ++k, a += a_step, b += b_row) {
    Floats right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      right[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Floats left = broadcast(a[r * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v)
        sum[r][v] = multiply_add(left, right[v], sum[r][v]);
    }
  }
  const float *alpha = p.alpha, *beta = p.beta;
  const int64_t c_row = p.c_row;
  if (columns >= V * kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v)
        sum[r][v] = broadcast(alpha[r]) * sum[r][v];
    if (beta) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v)
          sum[r][v] = multiply_add(broadcast(beta[r]), load(c + r * c_row + v * kLanes), sum[r][v]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v)
        store(c + r * c_row + v * kLanes, sum[r][v]);
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* to = c + r * c_row + v * kLanes;
      Floats result = broadcast(alpha[r]) * sum[r][v];
      if (beta) result = multiply_add(broadcast(beta[r]), load_partial(to, columns - v * kLanes), result);
      store_partial(to, result, columns - v * kLanes);
    }
}

template <int R>
HF_NOINLINE void row_block(const Product& p, int64_t columns) {
  int64_t j = 0;
  for (; j + kLanes < columns; j += 2 * kLanes)
    block<R, 2>(p, p.b + j, p.c + j, columns - j);
  if (j < columns) block<R, 1>(p, p.b + j, p.c + j, columns - j);
}

HF_INLINE void multiply(const Product& p, int64_t rows, int64_t columns) {
  switch (rows) {
    case 1: return row_block<1>(p, columns);
    case 2: return row_block<2>(p, columns);
    case 3: return row_block<3>(p, columns);
    case 4: return row_block<4>(p, columns);
    case 5: return row_block<5>(p, columns);
    case 6: return row_block<6>(p, columns);
#if defined(__AVX512F__)
    case 7: return row_block<7>(p, columns);
    case 8: return row_block<8>(p, columns);
    case 9: return row_block<9>(p, columns);
    case 10: return row_block<10>(p, columns);
    case 11: return row_block<11>(p, columns);
    case 12: return row_block<12>(p, columns);
#endif
  }
}

// Calls body(begin, count) for blocks of at most kRows of the rows, all about equally long.
template <class Body>
HF_INLINE void for_row_blocks(int64_t rows, const Body& body) {
  const int64_t blocks = (rows + kRows - 1) / kRows;
  for (int64_t i = 0; i < blocks; ++i)
    body(i * rows / blocks, (i + 1) * rows / blocks - i * rows / blocks);
}

// One head of a strided (N, heads, D) tensor.
struct Head {
  float* data;
  int64_t stride;
  HF_INLINE float* row(int64_t n) const { return data + n * stride; }
};
HF_INLINE Head head_of(const View& v, int64_t head) {
  return {v.as<float>() + head * v.stride[1], v.stride[0]};
}

// to[i, :] = factor · row `first` + i; the last vector is padded with zeros.
[[maybe_unused]] HF_NOINLINE void pack(Head from, int64_t first, int64_t rows, int64_t D, float factor,
                                       float* to, int64_t to_row) {
  const int64_t whole = D / kLanes * kLanes;
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = from.row(first + i);
    for (int64_t d = 0; d < whole; d += kLanes)
      store(to + i * to_row + d, factor * load(row + d));
    if (whole < D) store(to + i * to_row + whole, factor * load_partial(row + whole, D - whole));
  }
}

// Up to kLanes rows and columns of a matrix; what lies outside of (rows, columns) is zero.
HF_INLINE void load_square(const float* from, int64_t stride, int64_t rows, int64_t columns,
                           Floats (&square)[kLanes]) {
  if (rows >= kLanes && columns >= kLanes) {
    for (int r = 0; r < kLanes; ++r)
      square[r] = load(from + r * stride);
  } else {
    for (int r = 0; r < kLanes; ++r)
      square[r] = r < rows ? load_partial(from + r * stride, columns) : zero();
  }
}

// to[d, i] = element d of row `first` + i; columns are padded with zeros to a whole vector.
[[maybe_unused]] HF_NOINLINE void pack_transposed(Head from, int64_t first, int64_t rows, int64_t D,
                                                  float* to, int64_t to_row) {
  for (int64_t i = 0; i < rows; i += kLanes)
    for (int64_t d = 0; d < D; d += kLanes) {
      Floats square[kLanes];
      load_square(from.row(first + i) + d, from.stride, rows - i, D - d, square);
      transpose(square);
      if (d + kLanes <= D) {
        for (int r = 0; r < kLanes; ++r)
          store(to + (d + r) * to_row + i, square[r]);
      } else {
        for (int r = 0; r < kLanes; ++r)
          if (d + r < D) store(to + (d + r) * to_row + i, square[r]);
      }
    }
}

// Lane r = the sum (the maximum) of rows[r].
HF_INLINE Floats row_sums(Floats (&rows)[kLanes]) {
  transpose(rows);
  Floats total = rows[0];
  for (int i = 1; i < kLanes; ++i)
    total = total + rows[i];
  return total;
}
HF_INLINE Floats row_maxima(Floats (&rows)[kLanes]) {
  transpose(rows);
  Floats highest = rows[0];
  for (int i = 1; i < kLanes; ++i)
    highest = max(rows[i], highest);
  return highest;
}

// A score row's vectors with −∞ where the key comes after the query: body(column, scores) for the first
// `vectors` vectors, of which the first `visible` numbers count.
template <class Body>
HF_INLINE void for_scores(const float* row, int64_t vectors, int64_t visible, const Body& body) {
  const int64_t whole = visible / kLanes;
  for (int64_t i = 0; i < whole; ++i)
    body(i * kLanes, load(row + i * kLanes));
  for (int64_t i = whole; i < vectors; ++i) {
    const int64_t left = visible - i * kLanes;
    body(i * kLanes,
         select(first_lanes(left > 0 ? left : 0), load(row + i * kLanes), broadcast(-__builtin_inff())));
  }
}

// Piece `tile` of a sequence: rows [first + tile · size, …) of the `length` that begin at `first`.
struct SequenceTile {
  int64_t first, length, tile;
};

// Calls body(task, memory) for every task, with `floats` numbers of scratch that belong to it alone
// meanwhile.
template <class Body>
HF_INLINE void for_tasks(Run& run, int64_t tasks, int64_t floats, const Body& body) {
  const int64_t workers = smaller(run.threads, tasks), room = round_up(floats, 16);
  if (workers <= 0) return;
  float* memory =
      static_cast<float*>(arena_allocate(run, workers * room * static_cast<int64_t>(sizeof(float))));
  if (run.counting) return;
  int64_t next = 0;
  parallel_for(run, workers, [&](int64_t worker) {
    for (;;) {
      const int64_t task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
      if (task >= tasks) return;
      checkpoint(run);
      body(task, memory + worker * room);
    }
  });
}

// Every sequence's tiles of `size` rows, in order, as an array in the arena; returns their number.
HF_INLINE int64_t list_tiles(Run& run, const View& offsets, int64_t size, SequenceTile*& tiles) {
  const int32_t* offset = offsets.as<int32_t>();
  int64_t count = 0;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s)
    count += (offset[s + 1] - offset[s] + size - 1) / size;
  tiles = static_cast<SequenceTile*>(arena_allocate(run, count * static_cast<int64_t>(sizeof(SequenceTile))));
  if (run.counting) return count;
  int64_t at = 0;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s)
    for (int64_t i = 0; i < offset[s + 1] - offset[s]; i += size)
      tiles[at++] = {offset[s], offset[s + 1] - offset[s], i / size};
  return count;
}

// The longest sequence, at most `limit`.
HF_INLINE int64_t longest(const View& offsets, int64_t limit) {
  int64_t length = 0;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s) {
    const int64_t own = offsets.as<int32_t>()[s + 1] - offsets.as<int32_t>()[s];
    length = own > length ? own : length;
  }
  return smaller(length, limit);
}

}  // namespace
}  // namespace hf::HF_ISA
