// The register tiles of the gemm kernel: R × kTileColumns sums, each one chain of fused multiply-adds in the
// order of k, whichever way B is read.
//   kernel           both operands packed, as floats or as pairs of bfloat16 (pack_pairs.h)
//   kernel_of_a      A as it lies, left packed behind for the panels of B that follow
//   kernel_along_n   B as it lies, rows along n, left packed behind for the panels of A that follow
//   kernel_along_k   B as it lies, columns along k (a weight (N,K), used as its transpose):
//                    squares are transposed in registers
// The last three are how operands get packed: under the multiplications of the first tile that needs them,
// where the time of loads, stores and cache misses is hidden.
//
// R is a template parameter, so that the sums are registers and the loops over them are unrolled. The
// functions at the end of this file choose the instance for a number of rows.
#pragma once

#include "backends/cpu/pack_pairs.h"

namespace hf::HF_ISA {
namespace {

// What a tile does with its sums at the end.
enum class Leave {
  kStore,   // c = alpha · chain
  kAdd,     // c += alpha · chain
  kChain,   // c = chain
  kResume,  // the chain goes on from c, c = chain
};

// Memory that a kernel fetches into the L2 cache meanwhile, a line of 64 bytes for every k: `rows` pieces of
// `lines` lines, `step` bytes apart.
struct Ahead {
  const char* at = nullptr;  // the current piece
  int64_t step = 0;
  int64_t lines = 0;
  int64_t rows = 0;  // pieces that are left
  int64_t line = 0;  // the next one of the current piece

  HF_INLINE Ahead() = default;
  HF_INLINE Ahead(const void* begin, int64_t bytes, int64_t between, int64_t count)
      : at(static_cast<const char*>(begin)), step(between), rows(count) {
    const bool aligned = (reinterpret_cast<intptr_t>(begin) | between) % 64 == 0;
    lines = (bytes + 63) / 64 + !aligned;
  }

  HF_INLINE void fetch() {
    if (rows == 0) return;
    __builtin_prefetch(at + line * 64, 0, 2);
    ++line;
    if (line < lines) return;
    line = 0;
    at += step;
    --rows;
  }
};

// Where a tile goes: rows `row` floats apart.
struct Tile {
  float* c;
  int64_t row;
  float alpha;
  Leave leave;

  // The sums that the chains begin with.
  template <int R>
  HF_INLINE void begin(Floats (&chain)[R][2]) const {
    if (leave == Leave::kResume) {
      each<R, 2>(c, [&](float* at, int i, int v) { chain[i][v] = load(at); });
      return;
    }
    each<R, 2>(c, [&](float* at, int i, int v) {
      chain[i][v] = zero();
      __builtin_prefetch(at, 1);
    });
  }
  // Stores the sums of the tile's vectors from `first` on.

  template <int R, int Vectors>
  HF_INLINE void finish(const Floats (&chain)[R][Vectors], int first) const {
    const Floats scale = broadcast(alpha);
    float* const to = c + first * kLanes;
    if (leave == Leave::kAdd)
      each<R, Vectors>(
          to, [&](float* at, int i, int v) { store(at, multiply_add(chain[i][v], scale, load(at))); });
    else if (leave == Leave::kStore)
      each<R, Vectors>(to,
                       [&](float* at, int i, int v) { store(at, multiply_add(chain[i][v], scale, zero())); });
    else
      each<R, Vectors>(to, [&](float* at, int i, int v) { store(at, chain[i][v]); });
  }

 private:
  template <int R, int Vectors, class Body>
  HF_INLINE void each(float* to, const Body& body) const {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i, to += row)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v)
        body(to + v * kLanes, i, v);
  }
};

// One k: a (R) times a row of B, added to the chains.
template <bool kPairs = false, int R>
HF_INLINE void add_row(Floats (&chain)[R][2], const float* a, Floats b0, Floats b1) {
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    const Floats x = broadcast(a[i]);
    chain[i][0] = kPairs ? dot(x, b0, chain[i][0]) : multiply_add(x, b0, chain[i][0]);
    chain[i][1] = kPairs ? dot(x, b1, chain[i][1]) : multiply_add(x, b1, chain[i][1]);
  }
}

// Packed panels follow one another, so what is read next lies behind what is read now.
HF_INLINE void prefetch_panel(const float* row) {
  __builtin_prefetch(row + 1024);
  __builtin_prefetch(row + 1024 + kTileColumns / 2);
}

// a (depth, R), b (depth, kTileColumns).
template <int R, bool kPairs>
HF_NOINLINE void kernel(int64_t depth, const float* HF_RESTRICT a, const float* HF_RESTRICT b,
                        const Tile& tile, Ahead& ahead) {
  Floats chain[R][2];
  tile.begin(chain);
  Ahead next = ahead;
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const Floats b0 = load(b + k * kTileColumns);
    const Floats b1 = load(b + k * kTileColumns + kLanes);
    prefetch_panel(b + k * kTileColumns);
    next.fetch();
    // The L1 cache loses some of A while B passes through it.
    __builtin_prefetch(a + k * R + 208);
    add_row<kPairs>(chain, a + k * R, b0, b1);
  }
  ahead = next;
  tile.finish(chain, 0);
}

// a: R rows along k, `step` apart, or columns along m, `step` apart. packed (depth, R).
template <int R, bool kAlongK>
HF_NOINLINE void kernel_of_a(int64_t depth, const float* HF_RESTRICT a, int64_t step,
                             float* HF_RESTRICT packed, const float* HF_RESTRICT b, const Tile& tile) {
  Floats chain[R][2];
  tile.begin(chain);
  // There are no registers for R addresses. One base serves kReach rows: + 0, + step, + 2 steps.
  constexpr int kReach = 3;
  const float* base[(R + kReach - 1) / kReach];
#pragma GCC unroll 8
  for (int i = 0; i < R; i += kReach)
    base[i / kReach] = a + i * step;
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const Floats b0 = load(b + k * kTileColumns);
    const Floats b1 = load(b + k * kTileColumns + kLanes);
    prefetch_panel(b + k * kTileColumns);
    if constexpr (kAlongK) {
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        Floats x = broadcast(base[i / kReach][i % kReach * step]);
        pin(x);
        packed[k * R + i] = x[0];
        chain[i][0] = multiply_add(x, b0, chain[i][0]);
        chain[i][1] = multiply_add(x, b1, chain[i][1]);
      }
#pragma GCC unroll 8
      for (int i = 0; i < R; i += kReach)
        ++base[i / kReach];
    } else {
      const float* const column = a + k * step;
      __builtin_prefetch(column + 4 * step);
      add_row(chain, column, b0, b1);
#pragma GCC unroll 16
      for (int i = 0; i < R; i += kLanes)
        store_partial(packed + k * R + i, load_partial(column + i, R - i), R - i);
    }
  }
  tile.finish(chain, 0);
}

constexpr int64_t kRowsAhead = 8;  // of B along n, that are fetched ahead of the one that is multiplied

// b: rows step_k apart. packed (depth, kTileColumns), or null when nobody will read this panel again.
template <int R>
HF_NOINLINE void kernel_along_n(int64_t depth, const float* HF_RESTRICT a, const float* HF_RESTRICT b,
                                int64_t step_k, float* HF_RESTRICT packed, const Tile& tile, Ahead& ahead) {
  Floats chain[R][2];
  tile.begin(chain);
  // Past the last row comes the next panel's first.
  const float* coming = b + least(kRowsAhead, depth) * step_k;
  const int64_t wrap = depth - kRowsAhead;
  const float* const next_panel = b + kTileColumns;
  Ahead next = ahead;
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; ++k) {
    if (k == wrap) coming = next_panel;
    __builtin_prefetch(coming);
    __builtin_prefetch(coming + kTileColumns / 2);
    coming += step_k;
    const Floats b0 = load(b);
    const Floats b1 = load(b + kLanes);
    b += step_k;
    if (packed) {
      store(packed + k * kTileColumns, b0);
      store(packed + k * kTileColumns + kLanes, b1);
    }
    next.fetch();
    next.fetch();
    add_row(chain, a + k * R, b0, b1);
  }
  ahead = next;
  tile.finish(chain, 0);
}

// Whether the chains of so many rows fit the registers beside a square of B, for both halves of a panel at
// once (2), or only for one after the other (1).
constexpr int64_t halves(int64_t rows) {
  return rows <= (kTileRows < 8 ? 4 : 8) ? 2 : 1;
}

// b: columns step_n apart, contiguous along k. packed: as above. What is prefetched: behind the columns at k,
// what follows them there; at the end of this depth, what lies `turn` further.
template <int R, class Element>
HF_NOINLINE void kernel_along_k(int64_t depth, const float* HF_RESTRICT a, const Element* HF_RESTRICT b,
                                int64_t step_n, float* HF_RESTRICT packed, const Tile& tile, int64_t turn) {
  constexpr int kHalves = halves(R);
#pragma GCC unroll 2
  for (int first = 0; first < 2; first += kHalves) {
    Floats chain[R][kHalves];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h)
        chain[i][h] = zero();
    int64_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      const int64_t ahead = kAhead<Element> + (k + kAhead<Element> < depth ? 0 : turn);
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        Floats square[kLanes];
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j) {
          const Element* from = b + ((first + h) * kLanes + j) * step_n + k;
          square[j] = fetch(from);
          __builtin_prefetch(from + kLanes);
          __builtin_prefetch(from + ahead, 0, 2);
        }
        transpose(square);
        if (packed) {
#pragma GCC unroll 16
          for (int j = 0; j < kLanes; ++j)
            store(packed + (k + j) * kTileColumns + (first + h) * kLanes, square[j]);
        }
#pragma GCC unroll 16
        for (int j = 0; j < kLanes; ++j)
#pragma GCC unroll 16
          for (int i = 0; i < R; ++i)
            chain[i][h] = multiply_add(broadcast(a[(k + j) * R + i]), square[j], chain[i][h]);
      }
    }
    for (; k < depth; ++k)
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        const Element* const from = b + (first + h) * kLanes * step_n + k;
        alignas(64) float line[kLanes];
        for (int j = 0; j < kLanes; ++j)
          line[j] = fetch_one(from + j * step_n);
        const Floats x = load(line);
        if (packed) store(packed + k * kTileColumns + (first + h) * kLanes, x);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i)
          chain[i][h] = multiply_add(broadcast(a[k * R + i]), x, chain[i][h]);
      }
    tile.finish(chain, first);
  }
}

// ---- which instance ---------------------------------------------------------------------------------------

using Kernel = void (*)(int64_t depth, const float* a, const float* b, const Tile& tile, Ahead& ahead);
using OfA = void (*)(int64_t depth, const float* a, int64_t step, float* packed, const float* b,
                     const Tile& tile);
using AlongN = void (*)(int64_t depth, const float* a, const float* b, int64_t step_k, float* packed,
                        const Tile& tile, Ahead& ahead);
template <class Element>
using AlongK = void (*)(int64_t depth, const float* a, const Element* b, int64_t step_n, float* packed,
                        const Tile& tile, int64_t turn);

template <int R = kTileRows>
HF_INLINE Kernel kernel_of(int64_t rows, bool pairs = false) {
  if constexpr (R > 1) {
    if (rows < R) return kernel_of<R - 1>(rows, pairs);
  }
  return pairs && kHasPairs ? &kernel<R, kHasPairs> : &kernel<R, false>;
}
template <bool kAlongK, int R = kTileRows>
HF_INLINE OfA of_a_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return of_a_of<kAlongK, R - 1>(rows);
  }
  return &kernel_of_a<R, kAlongK>;
}
template <int R = kTileRows>
HF_INLINE AlongN along_n_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return along_n_of<R - 1>(rows);
  }
  return &kernel_along_n<R>;
}
template <class Element, int R = kTileRows>
HF_INLINE AlongK<Element> along_k_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return along_k_of<Element, R - 1>(rows);
  }
  return &kernel_along_k<R, Element>;
}

}  // namespace
}  // namespace hf::HF_ISA
