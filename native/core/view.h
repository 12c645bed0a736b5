// A view: where numbers lie, how many and how far apart. It owns nothing (runtime/buffer.h does) and is a
// plain struct, so that it can cross into files compiled per instruction set and into CUDA kernels.
#pragma once

#include <stdint.h>

#include "core/macros.h"

namespace hf {

enum class DType : int32_t { kF32, kF64, kI32, kBF16, kF16, kU8 };

HF_INLINE int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 8;
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kBF16:
    case DType::kF16: return 2;
    case DType::kU8: return 1;
  }
  return 0;
}

constexpr int kMaxRank = 4;

struct View {
  void* data = nullptr;  // null = absent (an optional argument that was not given)
  DType dtype = DType::kF32;
  int32_t rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[kMaxRank] = {};  // in elements

  HF_INLINE explicit operator bool() const { return data != nullptr; }
  template <class T>
  HF_INLINE T* as() const {
    return static_cast<T*>(data);
  }
  HF_INLINE int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i)
      n *= shape[i];
    return n;
  }
  HF_INLINE int64_t bytes() const { return size() * dtype_bytes(dtype); }
  HF_INLINE bool contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
  // The same numbers from `begin` along dimension `dim`, `count` of them.
  HF_INLINE View slice(int dim, int64_t begin, int64_t count) const {
    View v = *this;
    v.data = static_cast<char*>(data) + begin * stride[dim] * dtype_bytes(dtype);
    v.shape[dim] = count;
    return v;
  }
  HF_INLINE View transposed() const {  // rank 2
    View v = *this;
    v.shape[0] = shape[1];
    v.shape[1] = shape[0];
    v.stride[0] = stride[1];
    v.stride[1] = stride[0];
    return v;
  }
  // (N, X·Y) rows seen as (N, X, Y), X = count: the last dimension, which must have stride 1, is split.
  HF_INLINE View split_last(int64_t count) const {
    const int64_t pieces = shape[rank - 1] / count;
    View v = *this;
    v.rank = rank + 1;
    v.shape[rank - 1] = count;
    v.stride[rank - 1] = pieces;
    v.shape[rank] = pieces;
    v.stride[rank] = 1;
    return v;
  }
};

// Rows of contiguous numbers that do not overlap: a matrix with a leading dimension.
HF_INLINE bool contiguous_rows(const View& v) {
  return (v.stride[1] == 1 || v.shape[1] == 1) && (v.stride[0] >= v.shape[1] || v.shape[0] == 1);
}
// Its rows, or else its columns: what BLAS takes as it is, or transposed.
HF_INLINE bool plain_matrix(const View& v) {
  return contiguous_rows(v) || contiguous_rows(v.transposed());
}

// A contiguous view of `rank` dimensions.
template <class... Dims>
HF_INLINE View make_view(void* data, DType dtype, Dims... dims) {
  View v;
  v.data = data;
  v.dtype = dtype;
  v.rank = sizeof...(dims);
  const int64_t shape[] = {static_cast<int64_t>(dims)...};
  int64_t step = 1;
  for (int i = v.rank - 1; i >= 0; --i) {
    v.shape[i] = shape[i];
    v.stride[i] = step;
    step *= shape[i];
  }
  return v;
}

}  // namespace hf
