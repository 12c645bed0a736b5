// Op gemm through a BLAS of the system. Of its C interface we use one function that multiplies and, where the
// library has one, the function that sets its threads.
//   HEADFIRST_BLAS   the library's file, or a name that the loader finds; unset: none
#include "backends/cpu/blas.h"

#if __has_include(<dlfcn.h>)
#include <dlfcn.h>
#endif

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>

#include "core/fail.h"
#include "ops/op_table.h"
#include "runtime/cpu.h"

namespace hf {
namespace {

// Names and values of cblas.h. A size is an int there, or a long in builds with 64-bit integers, which
// Debian's keep the same names for: the ABIs of the machines we run on pass both in the same place, so one
// that is declared long here and fits an int is right for either.
constexpr int kRowMajor = 101;
constexpr int kPlain = 111;
constexpr int kTransposed = 112;
using Sgemm = void (*)(int order, int a_form, int b_form, int64_t M, int64_t N, int64_t K, float alpha,
                       const float* a, int64_t a_step, const float* b, int64_t b_step, float beta, float* c,
                       int64_t c_step);
using SetThreads = void (*)(int64_t threads);
constexpr const char* kSetThreads[] = {"openblas_set_num_threads", "MKL_Set_Num_Threads",
                                       "bli_thread_set_num_threads"};

struct Library {
  std::string wanted;   // HEADFIRST_BLAS
  std::string problem;  // why that one cannot be used, if it cannot
  std::string status;
  Sgemm sgemm = nullptr;
  SetThreads set_threads = nullptr;
};

#if __has_include(<dlfcn.h>)
// Sets set_threads; returns the name of the function that was found, or null.
const char* find_set_threads(void* opened, Library& lib) {
  for (const char* name : kSetThreads) {
    lib.set_threads = reinterpret_cast<SetThreads>(dlsym(opened, name));
    if (lib.set_threads) return name;
  }
  return nullptr;
}

std::string path_of(Sgemm function, const std::string& wanted) {
  Dl_info where{};
  dladdr(reinterpret_cast<void*>(function), &where);
  std::error_code ignored;
  const std::string path =
      std::filesystem::canonical(where.dli_fname ? where.dli_fname : wanted, ignored).string();
  return path.empty() ? wanted : path;
}

// OpenBLAS says which kernels it chose; a processor that it does not know gets slow ones.
std::string core_of(void* opened) {
  const auto core = reinterpret_cast<const char* (*)()>(dlsym(opened, "openblas_get_corename"));
  return core ? std::string(" (kernels for ") + core() + ")" : "";
}

void open_library(Library& lib) {
  void* const opened = dlopen(lib.wanted.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!opened) {
    const char* said = dlerror();
    lib.problem = said ? said : "it does not load";
    return;
  }
  lib.sgemm = reinterpret_cast<Sgemm>(dlsym(opened, "cblas_sgemm"));
  if (!lib.sgemm) {
    lib.problem = "it has no cblas_sgemm";
    return;
  }
  const char* threads_by = find_set_threads(opened, lib);
  lib.status = path_of(lib.sgemm, lib.wanted) + core_of(opened) + " for large plain products, threads by " +
               (threads_by ? threads_by : "its own environment variables") +
               "; a row's bits may depend on its batch, the threads and the library";
}
#else
void open_library(Library& lib) {
  lib.problem = "this system has no dlopen";
}
#endif

Library load() {
  Library lib;
  const char* wanted = std::getenv("HEADFIRST_BLAS");
  if (!wanted || !*wanted) {
    lib.status = "none (HEADFIRST_BLAS is not set): every product takes the built-in kernels";
    return lib;
  }
  lib.wanted = wanted;
  open_library(lib);
  if (!lib.problem.empty())
    lib.status = "none: HEADFIRST_BLAS names '" + lib.wanted + "', which cannot be used (" + lib.problem +
                 "); every product fails until that is mended or unset";
  return lib;
}

const Library& library() {
  static const Library instance = load();
  return instance;
}

// Few rows are a matter of reading b once, which the built-in kernels do at the speed of memory.
constexpr int64_t kFewRows = 8;

bool takes(const GemmArgs& g) {
  const bool is_float = g.a.dtype == DType::kF32 && g.b.dtype == DType::kF32;
  if (!is_float || g.packed_b || g.triangle != Triangle::kFull) return false;
  if (g.c.shape[0] <= kFewRows || g.a.shape[1] == 0 || is_small(cost(g))) return false;
  if (!plain_matrix(g.a) || !plain_matrix(g.b)) return false;
  for (const View& v : {g.a, g.b, g.c})
    for (int i = 0; i < 2; ++i)
      if (v.shape[i] > INT_MAX || v.stride[i] > INT_MAX) return false;
  return true;
}

// How BLAS is told where a matrix lies.
struct Stored {
  int form;
  int64_t step;  // from row to row, or column to column, as stored
};
Stored stored(const View& v) {
  if (contiguous_rows(v)) return {kPlain, v.shape[0] == 1 ? v.shape[1] : v.stride[0]};
  return {kTransposed, v.shape[1] == 1 ? v.shape[0] : v.stride[1]};
}

// Bias and residual into c, for BLAS to add to.
void add_first(const GemmArgs& g, Run& run) {
  constexpr int64_t kRows = 32;
  const int64_t M = g.c.shape[0];
  const int64_t N = g.c.shape[1];
  parallel_for(run, (M + kRows - 1) / kRows, [&](int64_t task) {
    const int64_t end = std::min((task + 1) * kRows, M);
    for (int64_t m = task * kRows; m < end; ++m) {
      float* const c = g.c.as<float>() + m * g.c.stride[0];
      if (!g.accumulate) std::fill_n(c, N, 0.0f);
      if (g.bias)
        for (int64_t n = 0; n < N; ++n)
          c[n] += g.bias.as<const float>()[n];
      if (g.residual)
        for (int64_t n = 0; n < N; ++n)
          c[n] += g.residual.as<const float>()[m * g.residual.stride[0] + n];
    }
  });
}

// Multiply-adds per thread and call, a few 10 ms: a product cannot be cancelled inside a call. A piece has at
// least so many rows (or columns) that packing the other operand again for each costs little.
constexpr double kPieceWork = 1e9;
constexpr int64_t kLeastPiece = 512;

}  // namespace

std::string blas_status() {
  return library().status;
}

bool blas_gemm(const GemmArgs& args, Run& run) {
  const Library& lib = library();
  HF_CHECK(lib.problem.empty(), ErrorCode::kBackendUnavailable,
           "gemm: HEADFIRST_BLAS must name a BLAS with the C interface (cblas_sgemm), "
           "such as libopenblas.so.0 or its path, got '%s': %s; unset it for the built-in kernels",
           lib.wanted.c_str(), lib.problem.c_str());
  const bool in_bf16 = run.math == Math::kBf16 && run.backend == Backend::kCpuAvx512 && has_bf16_dot();
  if (!lib.sgemm || !takes(args) || in_bf16) return false;
  const int64_t M = args.c.shape[0];
  const int64_t N = args.c.shape[1];
  const int64_t K = args.a.shape[1];
  const bool added_first = args.bias || args.residual;
  if (added_first) add_first(args, run);
  const float beta = added_first || args.accumulate ? 1 : 0;
  const Stored a = stored(args.a);
  const Stored b = stored(args.b);
  const bool by_rows = M >= N;
  const int64_t longer = std::max(M, N);
  const double work_per_line = double(K) * double(std::min(M, N));
  const int64_t piece = std::max(kLeastPiece, static_cast<int64_t>(kPieceWork * run.threads / work_per_line));
  for (int64_t begin = 0; begin < longer; begin += piece) {
    checkpoint(run);
    const int64_t count = std::min(piece, longer - begin);
    const View of_a = by_rows ? args.a.slice(0, begin, count) : args.a;
    const View of_b = by_rows ? args.b : args.b.slice(1, begin, count);
    const View of_c = args.c.slice(by_rows ? 0 : 1, begin, count);
    // One at a time: the number of threads is the library's, not the caller's, and not every build allows two
    // callers.
    static std::mutex mutex;
    std::lock_guard<std::mutex> lock(mutex);
    if (lib.set_threads) lib.set_threads(run.threads);
    lib.sgemm(kRowMajor, a.form, b.form, of_c.shape[0], of_c.shape[1], K, static_cast<float>(args.alpha),
              of_a.as<const float>(), a.step, of_b.as<const float>(), b.step, beta, of_c.as<float>(),
              args.c.stride[0]);
  }
  return true;
}

}  // namespace hf
