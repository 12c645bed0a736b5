// cuBLASLt: the few functions of its C interface that a product needs, found by name, and what is kept per
// stream: a handle, a workspace and, for every kind of product met so far, its descriptors and the algorithm
// that the library's heuristic chose.
//   HEADFIRST_CUBLAS_DIR   the folder that holds libcublasLt.so.13 or .12; else the loader looks for it
//   HEADFIRST_CUBLAS=off   do without
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "backends/cuda/cast.h"
#include "backends/cuda/cublas.h"

namespace hf {
namespace cuda {
namespace {

// Names and values of cublasLt.h, cublas_api.h and library_types.h (CUDA 12 and 13).
using Status = int;
constexpr Status kSuccess = 0, kInvalidValue = 7, kArchMismatch = 8, kNotSupported = 15;  // cublasStatus_t
constexpr int kCompute32F = 68, kCompute32FFastTf32 = 77;  // cublasComputeType_t
constexpr int kR32F = 0, kR16BF = 14;                      // cudaDataType_t
constexpr int32_t kOpT = 1;                                // cublasOperation_t
constexpr uint32_t kEpilogueBias = 4;                      // cublasLtEpilogue_t
constexpr uint32_t kReductionComputeType = 2;              // cublasLtReductionScheme_t
constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7,
              kDescBiasPointer = 8;  // cublasLtMatmulDescAttributes_t
constexpr int kPrefMaxWorkspace = 1, kPrefReductionMask = 3,
              kPrefAlignmentA = 5;  // cublasLtMatmulPreferenceAttributes_t; B, C, D follow A
constexpr int kLayoutBatchCount = 5,
              kLayoutBatchStep = 6;  // cublasLtMatrixLayoutAttribute_t; numbers, not bytes
struct Algorithm {
  uint64_t data[8];
};  // cublasLtMatmulAlgo_t
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};  // cublasLtMatmulHeuristicResult_t
using Handle = struct LtHandle*;
using Desc = struct LtDesc*;
using Layout = struct LtLayout*;
using Preference = struct LtPreference*;

struct Library {
  size_t (*GetVersion)();
  const char* (*GetStatusString)(Status);
  Status (*Create)(Handle*);
  Status (*Destroy)(Handle);
  Status (*MatmulDescCreate)(Desc*, int compute, int scale);
  Status (*MatmulDescDestroy)(Desc);
  Status (*MatmulDescSetAttribute)(Desc, int attribute, const void*, size_t);
  Status (*MatrixLayoutCreate)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t step);
  Status (*MatrixLayoutDestroy)(Layout);
  Status (*MatrixLayoutSetAttribute)(Layout, int attribute, const void*, size_t);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, int attribute, const void*, size_t);
  Status (*MatmulAlgoGetHeuristic)(Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference,
                                   int wanted, Heuristic*, int* found);
  Status (*Matmul)(Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout,
                   const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*,
                   void* workspace, size_t workspace_bytes, cudaStream_t);
  bool usable = false;
  std::string status;
};

void* open_library(std::string& problem) {
  const char* folder = std::getenv("HEADFIRST_CUBLAS_DIR");
  for (const bool in_folder : {true, false}) {
    if (in_folder && (!folder || !*folder)) continue;
    for (const char* name : kBlasLibraries) {
      if (void* found =
              dlopen(in_folder ? (std::string(folder) + "/" + name).c_str() : name, RTLD_NOW | RTLD_LOCAL))
        return found;
      if (const char* said = dlerror(); problem.empty() && said) problem = said;
    }
  }
  return nullptr;
}

Library load() {
  Library lib{};
  const char* wanted = std::getenv("HEADFIRST_CUBLAS");
  std::string problem;
  if (wanted && std::string(wanted) == "off") {
    problem = "HEADFIRST_CUBLAS=off";
  } else if (void* opened = open_library(problem)) {
    problem.clear();
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(opened, name));
      if (!function && problem.empty()) problem = std::string(name) + " is missing in it";
    };
#define HF_FIND(name) find(lib.name, "cublasLt" #name)
    HF_FIND(GetVersion), HF_FIND(GetStatusString), HF_FIND(Create), HF_FIND(Destroy),
        HF_FIND(MatmulDescCreate), HF_FIND(MatmulDescDestroy);
    HF_FIND(MatmulDescSetAttribute), HF_FIND(MatrixLayoutCreate), HF_FIND(MatrixLayoutDestroy),
        HF_FIND(MatrixLayoutSetAttribute);
    HF_FIND(MatmulPreferenceCreate), HF_FIND(MatmulPreferenceDestroy), HF_FIND(MatmulPreferenceSetAttribute),
        HF_FIND(MatmulAlgoGetHeuristic), HF_FIND(Matmul);
#undef HF_FIND
    lib.usable = problem.empty();
    if (lib.usable) {
      const size_t version = lib.GetVersion();
      Dl_info where{};
      dladdr(reinterpret_cast<void*>(lib.GetVersion), &where);
      lib.status = "cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
                   "." + std::to_string(version % 100) + " (" + (where.dli_fname ? where.dli_fname : "?") +
                   ")";
      return lib;
    }
  } else {
    problem += "; HEADFIRST_CUBLAS_DIR may name the folder that holds it";
  }
  lib.status = "none (" + problem + "): plain products take our own tensor-core kernel, the slower way";
  return lib;
}

const Library& library() {
  static const Library instance = load();
  return instance;
}

// A row-major matrix is, to cuBLAS, its transpose by columns: d' = b' a'.
struct Stored {
  bool transposed;  // the view's columns are contiguous
  int64_t rows, columns, step;
};
Stored stored(const View& v) {
  if (contiguous_rows(v)) return {false, v.shape[1], v.shape[0], v.shape[0] == 1 ? v.shape[1] : v.stride[0]};
  return {true, v.shape[0], v.shape[1], v.shape[1] == 1 ? v.shape[0] : v.stride[1]};
}
int type_of(const View& v) {
  return v.dtype == DType::kBF16 ? kR16BF : kR32F;
}
// The largest power of two up to 256 that divides the address: no algorithm wants more.
uint32_t alignment(const void* data) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(data) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}
// The same of the first matrix of a batch and all that follow it.
uint32_t alignment(const View& v, int64_t batch_step) {
  return std::min(alignment(v.data),
                  alignment(reinterpret_cast<const void*>(batch_step * dtype_bytes(v.dtype))));
}

bool takes(const Product& p) {
  const auto real = [](const View& v) { return v.dtype == DType::kF32 || v.dtype == DType::kBF16; };
  if (p.a.dtype != p.b.dtype || !real(p.a) || !real(p.d)) return false;
  if (!plain_matrix(p.a) || !plain_matrix(p.b)) return false;
  if (!contiguous_rows(p.d) || (p.c && (p.c.dtype != p.d.dtype || !contiguous_rows(p.c)))) return false;
  if (p.c && p.c.data == p.d.data && stored(p.c).step != stored(p.d).step) return false;
  if (p.bias && (p.bias.dtype != p.d.dtype || (p.bias.stride[0] != 1 && p.bias.shape[0] != 1) ||
                 alignment(p.bias.data) < 16))
    return false;
  if (p.batch != 1 && p.c && p.c.data != p.d.data) return false;
  for (const int64_t size : {p.a.shape[0], p.a.shape[1], p.b.shape[1], p.batch})
    if (size < 1 || size > INT32_MAX) return false;
  return true;
}

// For the profile: which product it was.
std::string described(const char* name, const Product& p) {
  std::string text = name + (" " + std::to_string(p.a.shape[0])) + "x" + std::to_string(p.a.shape[1]) + "x" +
                     std::to_string(p.b.shape[1]);
  if (p.batch > 1) text += " times " + std::to_string(p.batch);
  text += p.d.dtype == DType::kBF16 ? " to bf16" : " to float32";
  return text + (p.c ? p.c.data == p.d.data ? ", added" : ", residual" : "") + (p.bias ? ", bias" : "");
}

struct Plan {
  Desc desc = nullptr;
  Layout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
  Algorithm algorithm{};
  bool usable = false;  // the library has an algorithm
};

}  // namespace

class Blas {
 public:
  static constexpr int64_t kWorkspace = int64_t{32} << 20;  // what NVIDIA recommends for Hopper
  static constexpr size_t kMostPlans = 4096;

  explicit Blas(Stream& stream) : stream_(stream), lib_(library()) {
    check(library_call([&] { return lib_.Create(&handle_); }), "cublasLtCreate");
    try {
      workspace_ = stream_.allocate(kWorkspace);
    } catch (...) {
      lib_.Destroy(handle_);
      throw;
    }
  }
  ~Blas() {
    forget();
    library_call([&] { return lib_.Destroy(handle_); });
    stream_.free(workspace_);
  }
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  bool product(const char* name, const Product& p) {
    Plan& plan = plan_of(p);
    if (!plan.usable) return false;
    if (p.bias)
      check(lib_.MatmulDescSetAttribute(plan.desc, kDescBiasPointer, &p.bias.data, sizeof p.bias.data),
            "the bias of cublasLtMatmul");
    const float beta = p.c ? 1 : 0;
    Profile* const profile = stream_.profile();
    const Timed timed(profile, profile ? profile->name(described(name, p)) : name);
    const Status status = library_call([&] {
      return lib_.Matmul(handle_, plan.desc, &p.alpha, p.b.data, plan.a, p.a.data, plan.b, &beta,
                         p.c ? p.c.data : p.d.data, plan.c, p.d.data, plan.d, &plan.algorithm, workspace_,
                         size_t(kWorkspace), stream_.handle());
    });
    if (refused(status)) return plan.usable = false;
    check(status, "cublasLtMatmul");
    return true;
  }

 private:
  using Key = std::array<int64_t, 17>;

  static bool refused(Status status) {
    return status == kNotSupported || status == kInvalidValue || status == kArchMismatch;
  }
  void check(Status status, const char* what) const {
    if (status != kSuccess)
      fail(ErrorCode::kCuda, "%s: %s (status %d); HEADFIRST_CUBLAS=off does without cuBLAS", what,
           lib_.GetStatusString(status), status);
  }

  Plan& plan_of(const Product& p) {
    const Stored a = stored(p.a), b = stored(p.b), d = stored(p.d), c = p.c ? stored(p.c) : d;
    const View& c_view = p.c ? p.c : p.d;
    const uint32_t alignments[] = {alignment(p.b, p.b_step), alignment(p.a, p.a_step),
                                   alignment(c_view, p.d_step),
                                   alignment(p.d, p.d_step)};  // as cuBLAS names them
    const int kind = type_of(p.a) | type_of(p.d) << 4 | a.transposed << 8 | b.transposed << 9 |
                     bool(p.bias) << 10 | p.tf32 << 11 | (c_view.data == p.d.data) << 12;
    const Key key{p.a.shape[0],
                  p.b.shape[1],
                  p.a.shape[1],
                  kind,
                  a.step,
                  b.step,
                  c.step,
                  d.step,
                  p.batch,
                  p.a_step,
                  p.b_step,
                  p.d_step,
                  alignments[0],
                  alignments[1],
                  alignments[2],
                  alignments[3],
                  p.bias ? alignment(p.bias.data) : 0};
    if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
    if (plans_.size() >= kMostPlans) forget();  // batches of ever new lengths
    Plan& plan = plans_[key];
    check(lib_.MatmulDescCreate(&plan.desc, p.tf32 ? kCompute32FFastTf32 : kCompute32F, kR32F),
          "cublasLtMatmulDescCreate");
    // Operands change places: cuBLAS's first is b.
    if (b.transposed)
      check(lib_.MatmulDescSetAttribute(plan.desc, kDescTransA, &kOpT, sizeof kOpT),
            "an attribute of cublasLtMatmul");
    if (a.transposed)
      check(lib_.MatmulDescSetAttribute(plan.desc, kDescTransB, &kOpT, sizeof kOpT),
            "an attribute of cublasLtMatmul");
    if (p.bias) {
      check(lib_.MatmulDescSetAttribute(plan.desc, kDescEpilogue, &kEpilogueBias, sizeof kEpilogueBias),
            "an attribute of cublasLtMatmul");
      check(lib_.MatmulDescSetAttribute(plan.desc, kDescBiasPointer, &p.bias.data, sizeof p.bias.data),
            "the bias of cublasLtMatmul");
    }
    const auto layout = [&](Layout& out, const View& v, const Stored& s, int64_t batch_step) {
      check(lib_.MatrixLayoutCreate(&out, type_of(v), uint64_t(s.rows), uint64_t(s.columns), s.step),
            "cublasLtMatrixLayoutCreate");
      if (p.batch == 1) return;
      const int32_t count = int32_t(p.batch);
      check(lib_.MatrixLayoutSetAttribute(out, kLayoutBatchCount, &count, sizeof count),
            "an attribute of a cublasLt layout");
      check(lib_.MatrixLayoutSetAttribute(out, kLayoutBatchStep, &batch_step, sizeof batch_step),
            "an attribute of a cublasLt layout");
    };
    layout(plan.a, p.b, b, p.b_step), layout(plan.b, p.a, a, p.a_step), layout(plan.c, p.d, c, p.d_step),
        layout(plan.d, p.d, d, p.d_step);

    Preference preference = nullptr;
    check(lib_.MatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const uint64_t workspace = kWorkspace;
    Status status =
        lib_.MatmulPreferenceSetAttribute(preference, kPrefMaxWorkspace, &workspace, sizeof workspace);
    for (int i = 0; i < 4 && status == kSuccess; ++i)
      status = lib_.MatmulPreferenceSetAttribute(preference, kPrefAlignmentA + i, &alignments[i],
                                                 sizeof alignments[i]);
    // Parts of a sum are added in float32, never in bfloat16.
    if (status == kSuccess && p.d.dtype == DType::kBF16)
      status = lib_.MatmulPreferenceSetAttribute(preference, kPrefReductionMask, &kReductionComputeType,
                                                 sizeof kReductionComputeType);
    Heuristic best{};
    int found = 0;
    if (status == kSuccess)
      status = library_call([&] {
        return lib_.MatmulAlgoGetHeuristic(handle_, plan.desc, plan.a, plan.b, plan.c, plan.d, preference, 1,
                                           &best, &found);
      });
    lib_.MatmulPreferenceDestroy(preference);
    if (!refused(status)) check(status, "cublasLtMatmulAlgoGetHeuristic");
    plan.usable =
        status == kSuccess && found > 0 && best.state == kSuccess && best.workspace <= size_t(kWorkspace);
    plan.algorithm = best.algorithm;
    return plan;
  }

  void forget() {
    for (auto& [key, plan] : plans_) {
      for (Layout layout : {plan.a, plan.b, plan.c, plan.d})
        if (layout) lib_.MatrixLayoutDestroy(layout);
      if (plan.desc) lib_.MatmulDescDestroy(plan.desc);
    }
    plans_.clear();
  }

  Stream& stream_;
  const Library& lib_;
  Handle handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Key, Plan> plans_;
};

Blas& Stream::blas() {
  if (!blas_) blas_ = std::make_shared<Blas>(*this);
  return *blas_;
}

bool blas_available() {
  return library().usable;
}

bool blas_product(const char* name, Stream& stream, const Product& product) {
  return blas_available() && takes(product) && stream.blas().product(name, product);
}

}  // namespace cuda

std::string cublas_status() {
  return cuda::library().status;
}

}  // namespace hf
