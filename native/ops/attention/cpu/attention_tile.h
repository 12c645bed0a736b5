// What the attention kernels share: tiles of one sequence and one key/value head, a product whose result is
// kept in registers, rows of scores with the causal mask, and tasks with memory of their own.
//
// Tiles begin at multiples of their size from the start of their sequence, and inside a product every element
// of the result is one chain of fused multiply-adds over ascending depth. So a row's numbers depend on its
// own sequence up to itself and on nothing else: not on the batch, the thread count, or the tokens after it.
#pragma once

#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"
#include "core/fail.h"
#include "ops/attention/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

using cpu::kDerivativeTile;
using cpu::kKeyTile;
using cpu::least;
using cpu::SequenceTile;

// A block of a product's result in registers: kRows × 2 vectors, beside 2 vectors of B and 1 of A. AVX-512
// has 32 vector registers, the others 16 (also where 64-byte vectors are emulated on AVX2: blocks of 12 rows
// would take minutes to compile there).
#if defined(__AVX512F__)
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif
static_assert(kRows <= cpu::kMostBlockRows);

// C (rows × columns) = beta ∘ C + alpha ∘ (A B), with one alpha and one beta per row; without beta C is not
// read. A's elements are a_row and a_step apart, the rows of B and C b_row and c_row. The rows of B are whole
// vectors, those of C need not be.
struct Product {
  int64_t depth;
  const float* a;
  int64_t a_row;
  int64_t a_step;
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  const float* alpha;
  const float* beta;
};

// sum (R rows, V vectors) = the chains over depth of one block of C.
template <int R, int V>
HF_INLINE void sum_block(const Product& p, const float* b, Floats (&sum)[R][V]) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      sum[r][v] = zero();
  const float* a = p.a;
  const int64_t depth = p.depth;
  const int64_t a_row = p.a_row;
  const int64_t a_step = p.a_step;
  const int64_t b_row = p.b_row;
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
}

// One block of R rows and V vectors, of which `columns` numbers belong to C.
template <int R, int V>
HF_NOINLINE void block(const Product& p, const float* b, float* c, int64_t columns) {
  Floats sum[R][V];
  sum_block(p, b, sum);
  const float* alpha = p.alpha;
  const float* beta = p.beta;
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
      const int64_t count = columns - v * kLanes;
      Floats result = broadcast(alpha[r]) * sum[r][v];
      if (beta) result = multiply_add(broadcast(beta[r]), load_partial(to, count), result);
      store_partial(to, result, count);
    }
}

template <int R>
HF_NOINLINE void row_block(const Product& p, int64_t columns) {
  int64_t j = 0;
  for (; j + kLanes < columns; j += 2 * kLanes)
    block<R, 2>(p, p.b + j, p.c + j, columns - j);
  if (j < columns) block<R, 1>(p, p.b + j, p.c + j, columns - j);
}

// The product for up to kRows rows.
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
  const int64_t blocks = cpu::divide_up(rows, kRows);
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t begin = i * rows / blocks;
    const int64_t end = (i + 1) * rows / blocks;
    body(begin, end - begin);
  }
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

// to[i, :] = factor · row `first` + i of a head; the last vector is padded with zeros.
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

// to[d, i] = element d of row `first` + i of a head; columns are padded with zeros to a whole vector.
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

// Lane r is the sum of rows[r].
HF_INLINE Floats row_sums(Floats (&rows)[kLanes]) {
  transpose(rows);
  Floats total = rows[0];
  for (int i = 1; i < kLanes; ++i)
    total = total + rows[i];
  return total;
}
// Lane r is the maximum of rows[r].
HF_INLINE Floats row_maxima(Floats (&rows)[kLanes]) {
  transpose(rows);
  Floats highest = rows[0];
  for (int i = 1; i < kLanes; ++i)
    highest = max(rows[i], highest);
  return highest;
}

// Vectors that the first `count` numbers of a row lie in.
HF_INLINE int64_t vectors_of(int64_t count) {
  return cpu::divide_up(count, kLanes);
}

// Calls body(column, scores) for the first `vectors` vectors of a row of scores. The first `visible` numbers
// count; where the key comes after the query, the score is −∞.
template <class Body>
HF_INLINE void for_scores(const float* row, int64_t vectors, int64_t visible, const Body& body) {
  const int64_t whole = visible / kLanes;
  for (int64_t i = 0; i < whole; ++i)
    body(i * kLanes, load(row + i * kLanes));
  for (int64_t i = whole; i < vectors; ++i) {
    const int64_t left = visible - i * kLanes;
    const Ints seen = first_lanes(left > 0 ? left : 0);
    body(i * kLanes, select(seen, load(row + i * kLanes), broadcast(-__builtin_inff())));
  }
}

// Calls body(task, memory) for every task, with `floats` numbers of scratch that belong to it alone
// meanwhile. The threads draw tasks from one counter, so that nobody waits for a long sequence.
template <class Body>
HF_INLINE void for_tasks(Run& run, int64_t tasks, int64_t floats, const Body& body) {
  const int64_t workers = least(run.threads, tasks);
  if (workers <= 0) return;
  const int64_t room = cpu::task_room(floats);
  float* memory = static_cast<float*>(arena_allocate(run, cpu::task_bytes(tasks, floats, run.threads)));
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

// The tiles of `size` rows of all sequences, in order.
HF_INLINE const SequenceTile* list_tiles(Scratch& scratch, const View& offsets, int64_t size) {
  const int32_t* offset = offsets.as<int32_t>();
  SequenceTile* tiles = scratch.allocate<SequenceTile>(cpu::count_tiles(offsets, size));
  SequenceTile* next = tiles;
  for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s) {
    const int64_t length = offset[s + 1] - offset[s];
    for (int64_t begin = 0; begin < length; begin += size)
      *next++ = {offset[s], length, begin / size};
  }
  return tiles;
}

}  // namespace
}  // namespace hf::HF_ISA
