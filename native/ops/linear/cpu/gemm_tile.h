// The register tiles of the gemm kernel: R × kTileColumns sums, each one chain of fused multiply-adds in the
// order of k, whichever way B is read.
//   packed    both operands packed, as floats or as pairs of bfloat16 (pack_pairs.h)
//   of_a      A as it lies, left packed behind for the panels of B that follow
//   along_n   B as it lies, rows along n, left packed behind for the panels of A that follow
//   along_k   B as it lies, columns along k (a weight (N,K), used as its transpose):
//             squares are transposed in registers
// The last three are how operands get packed: under the multiplications of the first tile that needs them,
// where the time of loads, stores and cache misses is hidden.
//
// R is a template parameter, so that the sums are registers and the loops over them are unrolled. The
// instances are slow to compile, so each kind has a file of its own, gemm_tile_<kind>.cc, which ends with the
// function that chooses the instance for a number of rows.
#pragma once

#include "backends/cpu/pack_pairs.h"

namespace hf::HF_ISA {

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

namespace {

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

// Whether the chains of so many rows fit the registers beside a square of B, for both halves of a panel at
// once (2), or only for one after the other (1).
constexpr int64_t halves(int64_t rows) {
  return rows <= (kTileRows < 8 ? 4 : 8) ? 2 : 1;
}

}  // namespace

// ---- which instance ---------------------------------------------------------------------------------------
// Each of these returns the kernel for tiles of 1 ≤ rows ≤ kTileRows.

// a (depth, rows), b (depth, kTileColumns), both packed.
using Packed = void (*)(int64_t depth, const float* a, const float* b, const Tile& tile, Ahead& ahead);
Packed packed_kernel(int64_t rows, bool pairs);

// a: rows along k (along_k), or columns along m, `step` apart. packed (depth, rows).
using OfA = void (*)(int64_t depth, const float* a, int64_t step, float* packed, const float* b,
                     const Tile& tile);
OfA kernel_of_a(int64_t rows, bool along_k);

// b: rows step_k apart. packed (depth, kTileColumns), or null when nobody will read this panel again.
using AlongN = void (*)(int64_t depth, const float* a, const float* b, int64_t step_k, float* packed,
                        const Tile& tile, Ahead& ahead);
AlongN kernel_along_n(int64_t rows);

// b: columns step_n apart, contiguous along k. packed: as above. What is prefetched: behind the columns at k,
// what follows them there; at the end of this depth, what lies `turn` further.
template <class Element>
using AlongK = void (*)(int64_t depth, const float* a, const Element* b, int64_t step_n, float* packed,
                        const Tile& tile, int64_t turn);
AlongK<float> kernel_along_k(int64_t rows);
AlongK<uint16_t> kernel_along_k_bf16(int64_t rows);

}  // namespace hf::HF_ISA
