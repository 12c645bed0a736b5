// cuBLASLt for the emulated device: the functions that native/backends/cuda/cublas.cu looks up, as plain
// loops, after NVIDIA's description of the interface (cublasLt.h, CUDA 12 and 13). Strict where the library
// is: sizes of attributes, leading dimensions, alignments that were promised. Every product adds a line to
// the file that HEADFIRST_EMULATED_CUBLAS_LOG names.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>

namespace {

constexpr int kSuccess = 0, kInvalidValue = 7;
constexpr int kF32 = 0, kBF16 = 14, kCompute32F = 68, kComputeTf32 = 77;

struct Desc {
  int compute, scale;
  int32_t transposed[2];  // A, B
  uint32_t epilogue;
  const void* bias;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t step;
  int32_t batch;
  int64_t batch_step;
};
struct Preference {
  uint64_t workspace;
  uint32_t alignment[4], reductions;
};
struct Algorithm {
  uint64_t data[8];
};  // [0]: promised alignments, a byte each; [1]: a mark
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
constexpr uint64_t kMark = 0x6865616466697273;

template <class T>
int set(T& field, const void* value, size_t bytes) {
  if (!value || bytes != sizeof field) return kInvalidValue;
  std::memcpy(&field, value, bytes);
  return kSuccess;
}
double number(const void* data, int type, int64_t i) {
  if (type == kF32) return double(static_cast<const float*>(data)[i]);
  const uint32_t bits = uint32_t(static_cast<const uint16_t*>(data)[i]) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return double(value);
}
void store(void* data, int type, int64_t i, float value) {
  if (type == kF32) {
    static_cast<float*>(data)[i] = value;
    return;
  }
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  static_cast<uint16_t*>(data)[i] = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
// Sizes of op(A) op(B), or invalid.
bool shapes(const Desc* desc, const Layout* a, const Layout* b, const Layout* c, const Layout* d, uint64_t& m,
            uint64_t& n, uint64_t& k) {
  m = desc->transposed[0] ? a->columns : a->rows;
  k = desc->transposed[0] ? a->rows : a->columns;
  n = desc->transposed[1] ? b->rows : b->columns;
  const uint64_t other = desc->transposed[1] ? b->columns : b->rows;
  if (other != k || d->rows != m || d->columns != n || c->rows != m || c->columns != n ||
      c->type != d->type || a->type != b->type)
    return false;
  if (desc->scale != kF32 || (desc->compute != kCompute32F && desc->compute != kComputeTf32) ||
      (a->type == kBF16 && desc->compute != kCompute32F))
    return false;
  if (a->type == kF32 && d->type != kF32) return false;
  for (const Layout* layout : {a, b, c, d})
    if (layout->step < int64_t(layout->rows) || layout->batch != d->batch || layout->batch < 1) return false;
  if (d->batch > 1 && d->batch_step < d->step * int64_t(d->columns - 1) + int64_t(d->rows)) return false;
  return true;
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() {
  return 139907;
}
const char* cublasLtGetStatusString(int status) {
  return status == kSuccess ? "success" : "an emulated failure";
}
int cublasLtCreate(void** handle) {
  return *handle = std::malloc(1), kSuccess;
}
int cublasLtDestroy(void* handle) {
  return std::free(handle), kSuccess;
}
int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
  return *desc = new Desc{compute, scale, {0, 0}, 1, nullptr}, kSuccess;
}
int cublasLtMatmulDescDestroy(Desc* desc) {
  return delete desc, kSuccess;
}
int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, size_t bytes) {
  switch (attribute) {
    case 3: return set(desc->transposed[0], value, bytes);
    case 4: return set(desc->transposed[1], value, bytes);
    case 7: return set(desc->epilogue, value, bytes);
    case 8: return set(desc->bias, value, bytes);
    default: return kInvalidValue;
  }
}
int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t step) {
  return *layout = new Layout{type, rows, columns, step, 1, 0}, kSuccess;
}
int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t bytes) {
  switch (attribute) {
    case 5: return set(layout->batch, value, bytes);
    case 6: return set(layout->batch_step, value, bytes);
    default: return kInvalidValue;
  }
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  return delete layout, kSuccess;
}
int cublasLtMatmulPreferenceCreate(Preference** preference) {
  return *preference = new Preference{0, {256, 256, 256, 256}, 7}, kSuccess;
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  return delete preference, kSuccess;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value,
                                         size_t bytes) {
  switch (attribute) {
    case 1: return set(preference->workspace, value, bytes);
    case 3: return set(preference->reductions, value, bytes);
    case 5:
    case 6:
    case 7:
    case 8: return set(preference->alignment[attribute - 5], value, bytes);
    default: return kInvalidValue;
  }
}
int cublasLtMatmulAlgoGetHeuristic(void*, Desc* desc, Layout* a, Layout* b, Layout* c, Layout* d,
                                   Preference* preference, int wanted, Heuristic* results, int* found) {
  uint64_t m, n, k;
  if (wanted < 1 || !shapes(desc, a, b, c, d, m, n, k)) return kInvalidValue;
  results[0] = {};
  for (int i = 0; i < 4; ++i)
    results[0].algorithm.data[0] |= uint64_t(preference->alignment[i] - 1) << 8 * i;
  results[0].algorithm.data[1] = kMark;
  results[0].workspace = preference->workspace;
  return *found = 1, kSuccess;
}
int cublasLtMatmul(void*, Desc* desc, const float* alpha, const void* a, Layout* la, const void* b,
                   Layout* lb, const float* beta, const void* c, Layout* lc, void* d, Layout* ld,
                   const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void*) {
  uint64_t m, n, k;
  if (!shapes(desc, la, lb, lc, ld, m, n, k) || algorithm->data[1] != kMark || !workspace ||
      workspace_bytes < 1)
    return kInvalidValue;
  const void* const addresses[] = {a, b, c, d};
  const Layout* const layouts[] = {la, lb, lc, ld};
  const auto bytes_of = [](const Layout* l) { return uintptr_t(l->batch_step) * (l->type == kBF16 ? 2 : 4); };
  for (int i = 0; i < 4; ++i)
    if ((reinterpret_cast<uintptr_t>(addresses[i]) | bytes_of(layouts[i])) &
        (algorithm->data[0] >> 8 * i & 255))
      return kInvalidValue;
  if (c == d && lc->step != ld->step) return kInvalidValue;
  if ((desc->epilogue == 4) != (desc->bias != nullptr) || (desc->epilogue != 1 && desc->epilogue != 4))
    return kInvalidValue;
  for (int64_t z = 0; z < ld->batch; ++z) {
    const int64_t az = z * la->batch_step;
    const int64_t bz = z * lb->batch_step;
    const int64_t cz = z * lc->batch_step;
    const int64_t dz = z * ld->batch_step;
    for (uint64_t j = 0; j < n; ++j) {
      for (uint64_t i = 0; i < m; ++i) {
        double sum = 0;
        for (uint64_t l = 0; l < k; ++l)
          sum += number(a, la->type,
                        az + (desc->transposed[0] ? int64_t(l) + int64_t(i) * la->step
                                                  : int64_t(i) + int64_t(l) * la->step)) *
                 number(b, lb->type,
                        bz + (desc->transposed[1] ? int64_t(j) + int64_t(l) * lb->step
                                                  : int64_t(l) + int64_t(j) * lb->step));
        double out = double(*alpha) * sum;
        if (*beta != 0) out += double(*beta) * number(c, lc->type, cz + int64_t(i) + int64_t(j) * lc->step);
        if (desc->epilogue == 4) out += number(desc->bias, ld->type, int64_t(i));
        store(d, ld->type, dz + int64_t(i) + int64_t(j) * ld->step, float(out));
      }
    }
  }
  if (const char* path = std::getenv("HEADFIRST_EMULATED_CUBLAS_LOG")) {
    if (std::FILE* log = std::fopen(path, "a")) {
      const std::string batch = ld->batch == 1 ? "" : ",\"batch\":" + std::to_string(ld->batch);
      std::fprintf(
          log,
          "{\"m\":%llu,\"n\":%llu,\"k\":%llu,\"transposed\":[%d,%d],\"operands\":\"%s\",\"tf32\":%s,\"bias\":%s,\"c\":\"%s\"%s}\n",
          (unsigned long long)m, (unsigned long long)n, (unsigned long long)k, desc->transposed[0],
          desc->transposed[1], la->type == kBF16 ? "bf16" : "f32",
          desc->compute == kComputeTf32 ? "true" : "false", desc->bias ? "true" : "false",
          *beta == 0 ? "none"
          : c == d   ? "d"
                     : "other",
          batch.c_str());
      std::fclose(log);
    }
  }
  return kSuccess;
}

}  // extern "C"
