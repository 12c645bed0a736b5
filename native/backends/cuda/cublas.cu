// Plain products by cuBLASLt. Kept per stream: a handle, a workspace and, for every kind of product met so
// far, a *plan*: its descriptors, and the algorithm that the library's heuristic chose for it.
#include "backends/cuda/cublas.h"

#include <algorithm>
#include <array>
#include <string>

#include "backends/cuda/cublas_library.h"

namespace hf {
namespace cuda {

using namespace lt;

namespace {

// A view as cuBLAS sees it. It thinks of matrices by columns, so a row-major matrix is its transpose to it,
// and d = a b is computed as d' = b' a'.
struct Stored {
  bool transposed;  // the view's columns are contiguous
  int64_t rows, columns, step;
};
Stored stored(const View& v) {
  if (contiguous_rows(v)) {
    const int64_t step = v.shape[0] == 1 ? v.shape[1] : v.stride[0];
    return {.transposed = false, .rows = v.shape[1], .columns = v.shape[0], .step = step};
  }
  const int64_t step = v.shape[1] == 1 ? v.shape[0] : v.stride[1];
  return {.transposed = true, .rows = v.shape[0], .columns = v.shape[1], .step = step};
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
  const int64_t bytes = batch_step * dtype_bytes(v.dtype);
  return std::min(alignment(v.data), alignment(reinterpret_cast<const void*>(bytes)));
}

bool is_real(const View& v) {
  return v.dtype == DType::kF32 || v.dtype == DType::kBF16;
}
bool takes_operands(const Product& p) {
  if (p.a.dtype != p.b.dtype || !is_real(p.a)) return false;
  return plain_matrix(p.a) && plain_matrix(p.b);
}
bool takes_result(const Product& p) {
  if (!is_real(p.d) || !contiguous_rows(p.d)) return false;
  if (!p.c) return true;
  if (p.c.dtype != p.d.dtype || !contiguous_rows(p.c)) return false;
  const bool in_place = p.c.data == p.d.data;
  if (in_place) return stored(p.c).step == stored(p.d).step;
  return p.batch == 1;
}
bool takes_bias(const Product& p) {
  if (!p.bias) return true;
  const bool contiguous = p.bias.stride[0] == 1 || p.bias.shape[0] == 1;
  return p.bias.dtype == p.d.dtype && contiguous && alignment(p.bias.data) >= 16;
}
bool takes_sizes(const Product& p) {
  for (const int64_t size : {p.a.shape[0], p.a.shape[1], p.b.shape[1], p.batch})
    if (size < 1 || size > INT32_MAX) return false;
  return true;
}
bool takes(const Product& p) {
  return takes_operands(p) && takes_result(p) && takes_bias(p) && takes_sizes(p);
}

// For the profile: which product it was.
std::string described(const char* name, const Product& p) {
  std::string text = name;
  text.append(" ").append(std::to_string(p.a.shape[0]));
  text.append("x").append(std::to_string(p.a.shape[1]));
  text.append("x").append(std::to_string(p.b.shape[1]));
  if (p.batch > 1) text.append(" times ").append(std::to_string(p.batch));
  text += p.d.dtype == DType::kBF16 ? " to bf16" : " to float32";
  if (p.c) text += p.c.data == p.d.data ? ", added" : ", residual";
  if (p.bias) text += ", bias";
  return text;
}

// A product in cuBLAS's terms: its first operand is b, its second a.
struct Shapes {
  Stored a, b, c, d;
  uint32_t alignments[4];  // in cuBLAS's order: b, a, c, d

  explicit Shapes(const Product& p)
      : a(stored(p.a)),
        b(stored(p.b)),
        c(stored(p.c ? p.c : p.d)),
        d(stored(p.d)),
        alignments{alignment(p.b, p.b_step), alignment(p.a, p.a_step), alignment(p.c ? p.c : p.d, p.d_step),
                   alignment(p.d, p.d_step)} {}
};

// Everything that the choice of an algorithm depends on.
using Key = std::array<int64_t, 17>;
Key key_of(const Product& p, const Shapes& s) {
  const bool in_place = !p.c || p.c.data == p.d.data;
  const int kind = type_of(p.a) | type_of(p.d) << 4 | s.a.transposed << 8 | s.b.transposed << 9 |
                   bool(p.bias) << 10 | p.tf32 << 11 | in_place << 12;
  return {
      p.a.shape[0],
      p.b.shape[1],
      p.a.shape[1],
      kind,
      s.a.step,
      s.b.step,
      s.c.step,
      s.d.step,
      p.batch,
      p.a_step,
      p.b_step,
      p.d_step,
      s.alignments[0],
      s.alignments[1],
      s.alignments[2],
      s.alignments[3],
      p.bias ? alignment(p.bias.data) : 0,
  };
}

struct Plan {
  Desc desc = nullptr;
  Layout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
  Algorithm algorithm{};
  bool usable = false;  // the library has an algorithm
};

// What the library says where it does not take a product.
bool refused(Status status) {
  return status == kNotSupported || status == kInvalidValue || status == kArchMismatch;
}

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

  // False, with nothing done, when the library has no algorithm.
  bool product(const char* name, const Product& p) {
    Plan& plan = plan_of(p);
    if (!plan.usable) return false;
    if (p.bias) set_bias(plan, p);
    const float beta = p.c ? 1 : 0;
    const View& c = p.c ? p.c : p.d;
    Profile* const profile = stream_.profile();
    const Timed timed(profile, profile ? profile->name(described(name, p)) : name);
    const Status status = library_call([&] {
      return lib_.Matmul(handle_, plan.desc, &p.alpha, p.b.data, plan.a, p.a.data, plan.b, &beta, c.data,
                         plan.c, p.d.data, plan.d, &plan.algorithm, workspace_, size_t(kWorkspace),
                         stream_.handle());
    });
    if (refused(status)) {
      plan.usable = false;
      return false;
    }
    check(status, "cublasLtMatmul");
    return true;
  }

 private:
  void check(Status status, const char* what) const {
    if (status == kSuccess) return;
    fail(ErrorCode::kCuda, "%s: %s (status %d); HEADFIRST_CUBLAS=off does without cuBLAS", what,
         lib_.GetStatusString(status), status);
  }

  // The plan of a product of this kind, made on first use.
  Plan& plan_of(const Product& p) {
    const Shapes shapes(p);
    const Key key = key_of(p, shapes);
    if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
    if (plans_.size() >= kMostPlans) forget();  // batches of ever new lengths
    Plan& plan = plans_[key];
    make_operation(plan, p, shapes);
    // Operands change places: cuBLAS's first is b.
    make_layout(plan.a, p.b, shapes.b, p, p.b_step);
    make_layout(plan.b, p.a, shapes.a, p, p.a_step);
    make_layout(plan.c, p.d, shapes.c, p, p.d_step);
    make_layout(plan.d, p.d, shapes.d, p, p.d_step);
    choose_algorithm(plan, p, shapes);
    return plan;
  }

  void set_bias(const Plan& plan, const Product& p) const {
    check(lib_.MatmulDescSetAttribute(plan.desc, kDescBiasPointer, &p.bias.data, sizeof p.bias.data),
          "the bias of cublasLtMatmul");
  }

  template <class T>
  void set(const Plan& plan, int attribute, const T& value) const {
    check(lib_.MatmulDescSetAttribute(plan.desc, attribute, &value, sizeof value),
          "an attribute of cublasLtMatmul");
  }
  void make_operation(Plan& plan, const Product& p, const Shapes& shapes) const {
    check(lib_.MatmulDescCreate(&plan.desc, p.tf32 ? kCompute32FFastTf32 : kCompute32F, kR32F),
          "cublasLtMatmulDescCreate");
    if (shapes.b.transposed) set(plan, kDescTransA, kOpT);
    if (shapes.a.transposed) set(plan, kDescTransB, kOpT);
    if (p.bias) {
      set(plan, kDescEpilogue, kEpilogueBias);
      set_bias(plan, p);
    }
  }

  void make_layout(Layout& out, const View& v, const Stored& s, const Product& p, int64_t batch_step) const {
    check(lib_.MatrixLayoutCreate(&out, type_of(v), uint64_t(s.rows), uint64_t(s.columns), s.step),
          "cublasLtMatrixLayoutCreate");
    if (p.batch == 1) return;
    const char* what = "an attribute of a cublasLt layout";
    const int32_t count = int32_t(p.batch);
    check(lib_.MatrixLayoutSetAttribute(out, kLayoutBatchCount, &count, sizeof count), what);
    check(lib_.MatrixLayoutSetAttribute(out, kLayoutBatchStep, &batch_step, sizeof batch_step), what);
  }

  // Asks the heuristic for its first choice. What it refuses leaves a plan that is not usable.
  void choose_algorithm(Plan& plan, const Product& p, const Shapes& shapes) {
    Preference preference = nullptr;
    check(lib_.MatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    Status status = kSuccess;
    const auto prefer = [&](int attribute, const auto& value) {
      if (status == kSuccess)
        status = lib_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
    };
    const uint64_t workspace = kWorkspace;
    prefer(kPrefMaxWorkspace, workspace);
    for (int i = 0; i < 4; ++i)
      prefer(kPrefAlignmentA + i, shapes.alignments[i]);
    // Parts of a sum are added in float32, never in bfloat16.
    if (p.d.dtype == DType::kBF16) prefer(kPrefReductionMask, kReductionComputeType);
    Heuristic best{};
    int found = 0;
    if (status == kSuccess)
      status = library_call([&] {
        return lib_.MatmulAlgoGetHeuristic(handle_, plan.desc, plan.a, plan.b, plan.c, plan.d, preference, 1,
                                           &best, &found);
      });
    lib_.MatmulPreferenceDestroy(preference);
    if (!refused(status)) check(status, "cublasLtMatmulAlgoGetHeuristic");
    const bool any = status == kSuccess && found > 0 && best.state == kSuccess;
    plan.usable = any && best.workspace <= size_t(kWorkspace);
    plan.algorithm = best.algorithm;
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
