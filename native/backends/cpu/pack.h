// Packs operands into panels, one depth block at a time (the layout is in backends/cpu/gemm.h): pack_panel
// takes rows along k, or any strides, pack_rows takes rows along the panel's own direction. Numbers are
// float32, or bfloat16 that are widened.
#pragma once

#include "backends/cpu/gemm.h"

namespace hf::HF_ISA {
namespace {

// kLanes numbers as float32, the first `count` of them and zeros, or one.
HF_INLINE Floats fetch(const float* p) {
  return load(p);
}
HF_INLINE Floats fetch(const uint16_t* p) {
  return load_bf16(p);
}
HF_INLINE Floats fetch(const float* p, int64_t count) {
  return load_partial(p, count);
}
HF_INLINE Floats fetch(const uint16_t* p, int64_t count) {
  float values[kLanes] = {};
  for (int64_t i = 0; i < count && i < kLanes; ++i)
    values[i] = from_bf16(p[i]);
  return load(values);
}
HF_INLINE float fetch_one(const float* p) {
  return *p;
}
HF_INLINE float fetch_one(const uint16_t* p) {
  return from_bf16(*p);
}

// How far ahead along k a row of an operand is prefetched, in numbers: the rows of a square are too many
// streams for the hardware's prefetcher.
template <class Element>
constexpr int64_t kAhead = 1024 / sizeof(Element);

// square[i] = the kLanes numbers of row w + i of the panel from depth k on. They are all there.
template <class Element>
HF_INLINE void load_whole_square(const Element* source, int64_t step_w, int64_t ahead,
                                 Floats (&square)[kLanes]) {
  for (int i = 0; i < kLanes; ++i) {
    const Element* from = source + i * step_w;
    square[i] = fetch(from);
    __builtin_prefetch(from + ahead, 0, 2);
  }
}

// out[k · width + w] = source[w · step_w + k · step_k] for w < width, zero for w ≥ count_w (which may exceed
// width).
template <class Element>
HF_NOINLINE void pack_panel(float* out, int64_t width, const Element* source, int64_t step_w, int64_t step_k,
                            int64_t count_w, int64_t count_k) {
  if (step_k != 1) {
    for (int64_t k = 0; k < count_k; ++k)
      for (int64_t w = 0; w < width; ++w)
        out[k * width + w] = w < count_w ? fetch_one(source + w * step_w + k * step_k) : 0.0f;
    return;
  }
  // Rows along k: squares of kLanes are transposed in registers. A vector that is stored at a row of a panel
  // narrower than itself runs into the following rows, which are stored later; `fits` says that it does not
  // run out of the panel.
  const auto fits = [&](int64_t k) __attribute__((always_inline)) {
    return width < kLanes && k * width + kLanes <= count_k * width;
  };
  for (int64_t w = 0; w < width; w += kLanes) {
    const int64_t lanes = least(width - w, kLanes);
    for (int64_t k = 0; k < count_k; k += kLanes) {
      const int64_t depth = least(count_k - k, kLanes);
      Floats square[kLanes];
      if (depth == kLanes && w + kLanes <= count_w) {
        // Behind the end of this panel's rows come the next panel's.
        const int64_t ahead =
            k + kAhead<Element> < count_k ? kAhead<Element> : width * step_w + kAhead<Element> - count_k;
        load_whole_square(source + w * step_w + k, step_w, ahead, square);
      } else {
        for (int i = 0; i < kLanes; ++i)
          square[i] = w + i < count_w ? fetch(source + (w + i) * step_w + k, depth) : zero();
      }
      transpose(square);
      float* to = out + k * width + w;
      if (depth == kLanes && (lanes == kLanes || fits(k + kLanes - 1))) {
        for (int i = 0; i < kLanes; ++i)
          store(to + i * width, square[i]);
      } else {
        for (int i = 0; i < depth; ++i)
          store_partial(to + i * width, square[i], lanes);
      }
    }
  }
}

// `count` numbers of the rows row(0) … row(depth − 1) as `panels` panels, with zeros beyond count. Rows may
// be pages apart and panels map to the same sets of the cache, so a few rows at a time go through all panels
// while the next ones are prefetched. A panel narrower than a vector takes whole vectors, of which the next
// row overwrites what is too much.
template <class Row>
HF_INLINE void pack_rows(const Row& row, int64_t depth, int64_t panels, int64_t count, int64_t width,
                         float* out) {
  const int64_t end = panels * width;
  constexpr int64_t kRows = 8;
  for (int64_t k0 = 0; k0 < depth; k0 += kRows) {
    const int64_t rows = least(depth - k0, kRows);
    decltype(row(0)) from[kRows];
    for (int64_t k = 0; k < rows; ++k)
      from[k] = row(k0 + k);
    for (int64_t k = k0 + kRows; k < least(depth, k0 + 2 * kRows); ++k)
      for (int64_t c = 0; c < least(end, count); c += 16)
        __builtin_prefetch(row(k) + c, 0, 2);
    // A vector may run into the next rows, unless these rows are the last ones.
    const bool more_rows_follow = k0 + kRows + 1 < depth;
    float* to = out + k0 * width;
    for (int64_t c = 0; c < end; c += width, to += depth * width) {
      for (int64_t i = 0; i < rows * width; i += 16)
        __builtin_prefetch(to + depth * width + i, 1);  // where the next panel's piece goes
      if (width == kTileColumns && c + width <= count) {
        for (int64_t k = 0; k < rows; ++k) {
          store(to + k * width, fetch(from[k] + c));
          store(to + k * width + kLanes, fetch(from[k] + c + kLanes));
        }
      } else if (width <= kLanes && c + kLanes <= count && more_rows_follow) {
        for (int64_t k = 0; k < rows; ++k)
          store(to + k * width, fetch(from[k] + c));
      } else {
        for (int64_t k = 0; k < rows; ++k)
          for (int64_t w = 0; w < width; w += kLanes) {
            const Floats v = c + w < count ? fetch(from[k] + c + w, count - c - w) : zero();
            store_partial(to + k * width + w, v, width - w);
          }
      }
    }
  }
}

}  // namespace
}  // namespace hf::HF_ISA
