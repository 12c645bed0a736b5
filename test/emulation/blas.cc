// A BLAS for test/native/blas.test.ts: the functions that native/backends/cpu/blas.cc looks up, as plain
// loops after the reference's cblas.h, and strict about what that refuses. Every product adds a line to the
// file that HEADFIRST_EMULATED_BLAS_LOG names. HEADFIRST_EMULATED_BLAS_NEXT may name a real library that
// computes the product instead.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kRowMajor = 101;
constexpr int kPlain = 111;
constexpr int kTransposed = 112;
int threads = 0;

void* next(const char* name) {
  const char* library = std::getenv("HEADFIRST_EMULATED_BLAS_NEXT");
  void* const opened = library && *library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : nullptr;
  return opened ? dlsym(opened, name) : nullptr;
}

}  // namespace

extern "C" {
void openblas_set_num_threads(int count) {
  threads = count;
  if (void* const set = next("openblas_set_num_threads"))
    reinterpret_cast<decltype(&openblas_set_num_threads)>(set)(count);
}

void cblas_sgemm(int order, int a_form, int b_form, int M, int N, int K, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
  const bool a_plain = a_form == kPlain, b_plain = b_form == kPlain;
  const bool forms = (a_plain || a_form == kTransposed) && (b_plain || b_form == kTransposed);
  const bool sizes = M > 0 && N > 0 && K > 0;
  const bool steps = lda >= (a_plain ? K : M) && ldb >= (b_plain ? N : K) && ldc >= N;
  const bool valid = order == kRowMajor && forms && sizes && steps;
  void* const other = valid ? next("cblas_sgemm") : nullptr;
  const char* log = std::getenv("HEADFIRST_EMULATED_BLAS_LOG");
  if (std::FILE* file = log ? std::fopen(log, "a") : nullptr) {
    std::fprintf(file,
                 "{\"m\":%d,\"n\":%d,\"k\":%d,\"transposed\":[%d,%d],\"beta\":%g,\"threads\":%d,"
                 "\"valid\":%s,\"by\":\"%s\"}\n",
                 M, N, K, !a_plain, !b_plain, beta, threads, valid ? "true" : "false",
                 other ? "the next" : "loops");
    std::fclose(file);
  }
  if (other)
    return reinterpret_cast<decltype(&cblas_sgemm)>(other)(order, a_form, b_form, M, N, K, alpha, a, lda, b,
                                                           ldb, beta, c, ldc);
  if (!valid) return;
  for (int m = 0; m < M; ++m) {
    float* const row = c + static_cast<long>(m) * ldc;
    for (int n = 0; n < N; ++n)
      row[n] = beta == 0 ? 0 : beta * row[n];
    for (int k = 0; k < K; ++k) {
      const float x =
          alpha * (a_plain ? a[static_cast<long>(m) * lda + k] : a[static_cast<long>(k) * lda + m]);
      if (b_plain) {
        for (int n = 0; n < N; ++n)
          row[n] += x * b[static_cast<long>(k) * ldb + n];
      } else {
        for (int n = 0; n < N; ++n)
          row[n] += x * b[static_cast<long>(n) * ldb + k];
      }
    }
  }
}
}
