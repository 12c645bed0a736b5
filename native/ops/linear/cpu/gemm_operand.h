// An operand of the gemm kernel as panels: where each lies in the matrix that was given, and how it is
// packed.
#pragma once

#include "ops/linear/cpu/gemm_tile.h"

namespace hf {
bool has_bf16_dot();  // runtime/cpu.h, which uses the C++ library
}

namespace hf::HF_ISA {
namespace {

// Whether products are made of pairs of bfloat16 numbers (pack_pairs.h).
HF_INLINE bool in_pairs(const Run& r) {
  return kHasPairs && r.math == Math::kBf16 && has_bf16_dot();
}

// Panels lie along dimension `w` of the view (rows of A, columns of B), depth along dimension `k`.
struct Operand {
  View view;
  int w;
  int k;
  int64_t width;  // of a panel
  bool pairs;     // depth counts pairs of numbers

  HF_INLINE int64_t panels() const { return divide_up(view.shape[w], width); }
  HF_INLINE int64_t depth() const { return pairs ? divide_up(view.shape[k], 2) : view.shape[k]; }

  // The first number of a panel at a depth; float32 only.
  HF_INLINE const float* at(int64_t panel, int64_t begin_k) const {
    return view.as<const float>() + panel * width * view.stride[w] + begin_k * view.stride[k];
  }

  // Packs panels [first, last) of one depth block; `out` is where the block's panel `first` goes.
  HF_INLINE void pack_panels(float* out, int64_t first, int64_t last, int64_t begin_k,
                             int64_t count_k) const {
    if (view.dtype == DType::kBF16)
      pack_as<uint16_t>(out, first, last, begin_k, count_k);
    else
      pack_as<float>(out, first, last, begin_k, count_k);
  }

  // The memory that panels [first, last) come from at depths [begin_k, begin_k + count_k), for prefetching.
  HF_INLINE Ahead source(int64_t first, int64_t last, int64_t begin_k, int64_t count_k) const {
    const int64_t bytes = dtype_bytes(view.dtype);
    const int64_t step_w = view.stride[w];
    const int64_t step_k = view.stride[k];
    const int64_t unit = pairs ? 2 : 1;
    const int64_t begin = first * width;
    const int64_t count = least(last * width, view.shape[w]) - begin;
    const char* const at = view.as<const char>() + (begin_k * unit * step_k + begin * step_w) * bytes;
    if (step_w == 1) return {at, count * bytes, step_k * bytes, count_k * unit};
    if (step_k == 1) return {at, count_k * unit * bytes, step_w * bytes, count};
    return {};
  }

 private:
  template <class Element>
  HF_INLINE void pack_as(float* out, int64_t first, int64_t last, int64_t begin_k, int64_t count_k) const {
    const int64_t step_w = view.stride[w];
    const int64_t step_k = view.stride[k];
    const int64_t count_w = view.shape[w];
    if (pairs) {
      const Element* source = view.as<const Element>() + 2 * begin_k * step_k;
      const int64_t numbers_left = view.shape[k] - 2 * begin_k;
      for (int64_t panel = first; panel < last; ++panel, out += width * count_k)
        pack_pairs(out, width, source + panel * width * step_w, step_w, step_k, count_w - panel * width,
                   count_k, numbers_left);
      return;
    }
    const Element* source = view.as<const Element>() + begin_k * step_k;
    if (step_w == 1) {
      const auto row = [&](int64_t k)
                           __attribute__((always_inline)) { return source + first * width + k * step_k; };
      return pack_rows(row, count_k, last - first, count_w - first * width, width, out);
    }
    for (int64_t panel = first; panel < last; ++panel, out += width * count_k)
      pack_panel(out, width, source + panel * width * step_w, step_w, step_k, count_w - panel * width,
                 count_k);
  }
};

HF_INLINE Operand operand_a(const View& a, bool pairs) {
  return {a, 0, 1, panel_rows(a.shape[0]), pairs};
}
HF_INLINE Operand operand_b(const View& b, bool pairs) {
  return {b, 1, 0, kTileColumns, pairs};
}

}  // namespace
}  // namespace hf::HF_ISA
