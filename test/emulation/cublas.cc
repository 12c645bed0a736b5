// cuBLASLt for the emulated device: the functions that native/backends/cuda/cublas_library.h looks up, as
// plain loops, after NVIDIA's description of the interface (cublasLt.h, CUDA 12 and 13). It is strict where
// the library is: about sizes of attributes, leading dimensions, and alignments that were promised. Every
// product adds a line to the file that HEADFIRST_EMULATED_CUBLAS_LOG names.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>

namespace {

constexpr int kSuccess = 0;
constexpr int kInvalidValue = 7;
constexpr int kF32 = 0;
constexpr int kBF16 = 14;
constexpr int kCompute32F = 68;
constexpr int kComputeTf32 = 77;
constexpr uint32_t kEpilogueNone = 1;
constexpr uint32_t kEpilogueBias = 4;

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
  uint64_t data[8];  // [0]: promised alignments, a byte each; [1]: a mark
};
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
// Whether the library has arithmetic for these types.
bool known_types(const Desc* desc, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
  if (c->type != d->type || a->type != b->type) return false;
  if (desc->scale != kF32) return false;
  if (a->type == kBF16) return desc->compute == kCompute32F;
  return d->type == kF32 && (desc->compute == kCompute32F || desc->compute == kComputeTf32);
}
// Whether rows and matrices of a batch do not overlap.
bool valid_steps(const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
  for (const Layout* layout : {a, b, c, d})
    if (layout->step < int64_t(layout->rows) || layout->batch != d->batch || layout->batch < 1) return false;
  const int64_t numbers = d->step * int64_t(d->columns - 1) + int64_t(d->rows);
  return d->batch == 1 || d->batch_step >= numbers;
}
// Sizes of op(A) op(B); false when they are invalid.
bool shapes(const Desc* desc, const Layout* a, const Layout* b, const Layout* c, const Layout* d, uint64_t& m,
            uint64_t& n, uint64_t& k) {
  m = desc->transposed[0] ? a->columns : a->rows;
  k = desc->transposed[0] ? a->rows : a->columns;
  n = desc->transposed[1] ? b->rows : b->columns;
  const uint64_t other = desc->transposed[1] ? b->columns : b->rows;
  if (other != k || d->rows != m || d->columns != n || c->rows != m || c->columns != n) return false;
  return known_types(desc, a, b, c, d) && valid_steps(a, b, c, d);
}

// Entry (row, column) of op(matrix), whose matrix of the batch begins at `begin`.
double entry(const void* data, const Layout* layout, bool transposed, int64_t begin, int64_t row,
             int64_t column) {
  const int64_t at = transposed ? column + row * layout->step : row + column * layout->step;
  return number(data, layout->type, begin + at);
}

// One product of a batch: d = alpha op(A) op(B) + beta c (+ bias).
void multiply(const Desc* desc, float alpha, const void* a, const Layout* la, const void* b, const Layout* lb,
              float beta, const void* c, const Layout* lc, void* d, const Layout* ld, int64_t z, uint64_t k) {
  const int64_t dz = z * ld->batch_step;
  for (int64_t j = 0; j < int64_t(ld->columns); ++j) {
    for (int64_t i = 0; i < int64_t(ld->rows); ++i) {
      double sum = 0;
      for (int64_t l = 0; l < int64_t(k); ++l)
        sum += entry(a, la, desc->transposed[0], z * la->batch_step, i, l) *
               entry(b, lb, desc->transposed[1], z * lb->batch_step, l, j);
      double out = double(alpha) * sum;
      if (beta != 0) out += double(beta) * entry(c, lc, false, z * lc->batch_step, i, j);
      if (desc->epilogue == kEpilogueBias) out += number(desc->bias, ld->type, i);
      store(d, ld->type, dz + i + j * ld->step, float(out));
    }
  }
}

// Adds the product to the file of products, where the environment names one.
void note(const Desc* desc, const Layout* la, const Layout* ld, bool has_c, bool in_place, uint64_t m,
          uint64_t n, uint64_t k) {
  const char* path = std::getenv("HEADFIRST_EMULATED_CUBLAS_LOG");
  std::FILE* log = path ? std::fopen(path, "a") : nullptr;
  if (!log) return;
  const char* c = !has_c ? "none" : in_place ? "d" : "other";
  const std::string batch = ld->batch == 1 ? "" : ",\"batch\":" + std::to_string(ld->batch);
  std::fprintf(log,
               "{\"m\":%llu,\"n\":%llu,\"k\":%llu,\"transposed\":[%d,%d],\"operands\":\"%s\","
               "\"tf32\":%s,\"bias\":%s,\"c\":\"%s\"%s}\n",
               (unsigned long long)m, (unsigned long long)n, (unsigned long long)k, desc->transposed[0],
               desc->transposed[1], la->type == kBF16 ? "bf16" : "f32",
               desc->compute == kComputeTf32 ? "true" : "false", desc->bias ? "true" : "false", c,
               batch.c_str());
  std::fclose(log);
}

// Whether addresses and steps keep the alignments that the heuristic was promised.
bool keep_promises(const Algorithm* algorithm, const void* const (&addresses)[4],
                   const Layout* const (&layouts)[4]) {
  for (int i = 0; i < 4; ++i) {
    const uintptr_t step = uintptr_t(layouts[i]->batch_step) * (layouts[i]->type == kBF16 ? 2 : 4);
    const uintptr_t forbidden = algorithm->data[0] >> 8 * i & 255;
    if ((reinterpret_cast<uintptr_t>(addresses[i]) | step) & forbidden) return false;
  }
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
  *handle = std::malloc(1);
  return kSuccess;
}
int cublasLtDestroy(void* handle) {
  std::free(handle);
  return kSuccess;
}
int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
  *desc = new Desc{compute, scale, {0, 0}, kEpilogueNone, nullptr};
  return kSuccess;
}
int cublasLtMatmulDescDestroy(Desc* desc) {
  delete desc;
  return kSuccess;
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
  *layout = new Layout{type, rows, columns, step, 1, 0};
  return kSuccess;
}
int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t bytes) {
  switch (attribute) {
    case 5: return set(layout->batch, value, bytes);
    case 6: return set(layout->batch_step, value, bytes);
    default: return kInvalidValue;
  }
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return kSuccess;
}
int cublasLtMatmulPreferenceCreate(Preference** preference) {
  *preference = new Preference{0, {256, 256, 256, 256}, 7};
  return kSuccess;
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return kSuccess;
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
  *found = 1;
  return kSuccess;
}
int cublasLtMatmul(void*, Desc* desc, const float* alpha, const void* a, Layout* la, const void* b,
                   Layout* lb, const float* beta, const void* c, Layout* lc, void* d, Layout* ld,
                   const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void*) {
  uint64_t m, n, k;
  if (!shapes(desc, la, lb, lc, ld, m, n, k)) return kInvalidValue;
  if (algorithm->data[1] != kMark || !workspace || workspace_bytes < 1) return kInvalidValue;
  if (!keep_promises(algorithm, {a, b, c, d}, {la, lb, lc, ld})) return kInvalidValue;
  if (c == d && lc->step != ld->step) return kInvalidValue;
  const bool with_bias = desc->epilogue == kEpilogueBias;
  if (with_bias != (desc->bias != nullptr) || (!with_bias && desc->epilogue != kEpilogueNone))
    return kInvalidValue;
  for (int64_t z = 0; z < ld->batch; ++z)
    multiply(desc, *alpha, a, la, b, lb, *beta, c, lc, d, ld, z, k);
  note(desc, la, ld, *beta != 0, c == d, m, n, k);
  return kSuccess;
}

}  // extern "C"
