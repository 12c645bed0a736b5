// C = alpha · A B (+ bias) (+ residual), or added to C. A block owns a tile of C: 64 × 64 (4 warps of 32 ×
// 32, 54 KiB of shared memory), or, when those are many, 128 × 128 (8 warps of 64 × 32, 108 KiB). The sum
// over k runs in one order whatever M and N are and whichever tile it is. Compute bound: a 128 × 128 tile
// reads 8 bytes of operands, from L2 mostly, for every 128 multiply-adds.
//
// Large products go to cuBLASLt where the machine has it; its order of sums depends on the shape. What it is
// slow at is done as a product that it is fast at, followed by a pass over C (Detour, below).
#include <utility>

#include "backends/cuda/cublas.h"
#include "backends/cuda/pack_rows.h"
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"
#include "core/error.h"

namespace hf::cuda {
namespace {

struct Epilogue {
  void* c;
  int64_t c_step;
  const float* bias;
  int64_t bias_step;
  const float* residual;
  int64_t residual_step;
  float alpha;
  bool accumulate, upper, bf16;  // bf16: c's type
};

// ---- our own kernel
// ----------------------------------------------------------------------------------------

template <Math math, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks)
    gemm_kernel(Operand a, Operand b, int64_t M, int64_t N, int64_t K, Epilogue e) {
  const int64_t row0 = int64_t(blockIdx.y + blockIdx.z * gridDim.y) * Shape::kRows;
  const int64_t column0 = int64_t(blockIdx.x) * Shape::kColumns;
  if (row0 >= M || (e.upper && column0 + Shape::kColumns <= row0)) return;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  float acc[Shape::kMT][Shape::kNT][4];
  clear(acc);
  block_product<math, Shape>(acc, stages, a, row0, M, b, column0, N, 0, K);
  each_entry<Shape>(acc, [&](int r, int c, float value) {
    const int64_t m = row0 + r, n = column0 + c;
    if (m >= M || n >= N || (e.upper && n < m)) return;
    float out = e.alpha * value;
    if (e.bias) out += e.bias[n * e.bias_step];
    if (e.residual) out += e.residual[m * e.residual_step + n];
    const int64_t at = m * e.c_step + n;
    if (e.bf16) {
      uint16_t* target = static_cast<uint16_t*>(e.c) + at;
      *target = uint16_t(to_bf16x2(e.accumulate ? from_bf16(*target) + out : out, 0.0f));
    } else {
      float* target = static_cast<float*>(e.c) + at;
      *target = e.accumulate ? *target + out : out;
    }
  });
}

template <Math math, class Shape>
void start(const GemmArgs& a, Stream& stream) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1], K = a.a.shape[1];
  Epilogue e{};
  e.c = a.c.data;
  e.c_step = a.c.stride[0];
  e.bf16 = a.c.dtype == DType::kBF16;
  e.bias = a.bias.as<const float>();
  e.bias_step = a.bias ? a.bias.stride[0] : 0;
  e.residual = a.residual.as<const float>();
  e.residual_step = a.residual ? a.residual.stride[0] : 0;
  e.alpha = float(a.alpha);
  e.accumulate = a.accumulate;
  e.upper = a.triangle == Triangle::kUpper;
  const unsigned rows = blocks(M, Shape::kRows);
  const unsigned y = rows < 32768 ? rows : 32768;
  const dim3 grid(blocks(N, Shape::kColumns), y, y ? blocks(rows, y) : 0);
  launch("gemm", gemm_kernel<math, Shape>, grid, Shape::kThreads, Shape::kSharedBytes, stream,
         operand_of(a.a), operand_of(a.b.transposed()), M, N, K, e);
}

// ---- cuBLAS -----------------------------------------------------------------------------------------------

// Multiply-adds from which on cuBLAS is the faster one: estimates, until they are measured. Below, starting
// it (and two kernels that round the operands) takes longer than the product. Exact float32 runs on the same
// units in both.
constexpr double least_work(Math math) {
  return math == Math::kExact ? double(1 << 27) : double(1 << 25);
}
// So few rows (or columns) of C read every number of the other operand once. Rounding that operand first
// would read and write it besides.
constexpr int64_t kFew = 64;

// C += bias + residual. A thread owns four columns of a row. No shared memory. Memory bound: 16 bytes a
// number, the product's own 4 counted in.
HF_KERNEL __launch_bounds__(kThreads) add_residual_kernel(Rows c, Rows residual, const float* bias,
                                                          int64_t bias_step, int64_t rows, int64_t columns) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t per_row = (columns + 3) / 4;
  const int64_t row = i / per_row;
  const int64_t column = i % per_row * 4;
  if (row >= rows) return;
  Four sum = c.load(row, column, columns);
  const Four add = residual.load(row, column, columns);
#pragma unroll
  for (int j = 0; j < 4; ++j)
    sum.v[j] =
        (bias && column + j < columns ? sum.v[j] + bias[(column + j) * bias_step] : sum.v[j]) + add.v[j];
  c.store(row, column, columns, sum);
}

// C (M, N) += Xᵀ, X (N, M) contiguous. A block owns 32 × 32 numbers. Shared memory: 4 KiB. Memory bound: 12
// bytes a number.
constexpr int kSide = 32;
HF_KERNEL __launch_bounds__(kThreads) add_transposed_kernel(Rows c, const float* x, int64_t M, int64_t N) {
  SharedMemory memory;
  // By its rows and by its columns without bank conflicts.
  const Shared<float> tile = memory.take<float>(kSide * (kSide + 1));
  const int64_t tiles = (N + kSide - 1) / kSide;
  const int64_t m0 = blockIdx.x / tiles * kSide;
  const int64_t n0 = blockIdx.x % tiles * kSide;
  const int lane = int(threadIdx.x) % kSide, first = int(threadIdx.x) / kSide;
  for (int r = first; r < kSide; r += kThreads / kSide)
    if (n0 + r < N && m0 + lane < M) tile[r * (kSide + 1) + lane] = x[(n0 + r) * M + m0 + lane];
  __syncthreads();
  for (int r = first; r < kSide; r += kThreads / kSide)
    if (m0 + r < M && n0 + lane < N)
      c.row(m0 + r)[n0 + lane] += static_cast<float>(tile[lane * (kSide + 1) + r]);
}

// Kinds of product in bf16 math that the library's heuristic answers with a slow kernel (on an H200,
// docs/cuda.md), and the way around each.
enum class Detour {
  kNone,
  kAddAfter,    // a residual after a short product: the epilogue loses more than a pass over C takes
  kTransposed,  // the gradient of a weight with fewer rows than columns, over a long sum: it is computed as
                // its transpose, which has more rows than columns
};
constexpr int64_t kShort = 2048;
// Of a gradient. Larger ones have tiles for the whole chip, and would need as much scratch memory.
constexpr int64_t kFewEntries = int64_t{1} << 23;
Detour detour_of(const GemmArgs& a, Math math) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1], K = a.a.shape[1];
  if (math != Math::kBf16 || a.c.dtype != DType::kF32) return Detour::kNone;
  if (a.residual) {
    const bool elsewhere = a.residual.data != a.c.data;
    return K < kShort && elsewhere ? Detour::kAddAfter : Detour::kNone;
  }
  const bool weight_gradient = a.accumulate && !a.bias && !contiguous_rows(a.a) && contiguous_rows(a.b);
  const bool wide = M < N && N < K && M * N <= kFewEntries;
  return weight_gradient && wide ? Detour::kTransposed : Detour::kNone;
}

// Each of the two: false, with nothing done, where the library has no algorithm.
bool add_after(const GemmArgs& a, Product p, Stream& stream) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1];
  p.c = p.bias = View{};
  if (!blas_product("gemm (cuBLAS)", stream, p)) return false;
  launch("add residual", add_residual_kernel, dim3(blocks(M * ((N + 3) / 4), kThreads)), kThreads, 0, stream,
         rows_of(a.c), rows_of(a.residual), a.bias.as<const float>(), a.bias ? a.bias.stride[0] : 0, M, N);
  return true;
}
bool as_transpose(const GemmArgs& a, Product p, Run& run, Stream& stream) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1];
  std::swap(p.a, p.b);
  p.a = p.a.transposed();
  p.b = p.b.transposed();
  p.c = View{};
  p.d = make_view(device_scratch<float>(run, M * N), DType::kF32, N, M);
  if (!blas_product("gemm (cuBLAS)", stream, p)) return false;
  launch("add transposed", add_transposed_kernel, dim3(blocks(M, kSide) * blocks(N, kSide)), kThreads,
         kSide * (kSide + 1) * int(sizeof(float)), stream, rows_of(a.c), p.d.as<const float>(), M, N);
  return true;
}

// What the library is asked for. Operands are rounded later.
Product product_of(const GemmArgs& a, Math math) {
  Product p;
  p.a = a.a;
  p.b = a.b;
  p.d = a.c;
  p.c = a.accumulate ? a.c : a.residual;
  p.bias = a.bias;
  p.alpha = float(a.alpha);
  p.tf32 = math == Math::kTf32;
  return p;
}

// Whether it is a product that cuBLAS takes, and takes faster than the kernel above.
bool worth_cublas(const GemmArgs& a, Math math) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1], K = a.a.shape[1];
  if (double(M) * double(N) * double(K) < least_work(math)) return false;
  if (a.triangle == Triangle::kUpper || (a.accumulate && a.residual)) return false;
  if (!blas_available() || !plain_matrix(a.a) || !plain_matrix(a.b)) return false;
  const bool rounded_a = a.a.dtype == DType::kBF16, rounded_b = a.b.dtype == DType::kBF16;
  if (math != Math::kBf16) return !rounded_a && !rounded_b;
  const bool rounds_for_few = (M <= kFew && !rounded_b) || (N <= kFew && !rounded_a);
  return !rounds_for_few;
}

// False when the product is left to the kernel above.
bool by_cublas(const GemmArgs& a, Run& run, Stream& stream) {
  if (!worth_cublas(a, run.math)) return false;
  Product p = product_of(a, run.math);
  try {
    if (run.math == Math::kBf16) {
      p.a = bf16_copy(a.a, run);
      p.b = bf16_copy(a.b, run);
    }
    const Detour detour = detour_of(a, run.math);
    if (detour == Detour::kAddAfter) return add_after(a, p, stream);
    if (detour == Detour::kTransposed) return as_transpose(a, p, run, stream);
    // The library wants a bias of c's type.
    if (a.bias && a.c.dtype == DType::kBF16 && a.bias.stride[0] == 1) {
      const int64_t N = a.c.shape[1];
      const View row = make_view(a.bias.data, a.bias.dtype, 1, N);
      p.bias = make_view(bf16_copy(row, run).data, DType::kBF16, N);
    }
    return blas_product("gemm (cuBLAS)", stream, p);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kOutOfMemory) return false;  // the kernel above needs no memory
    throw;
  }
}

}  // namespace

void run(const GemmArgs& args, Run& r) {
  on_device(args, r, [&](const GemmArgs& a, Stream& stream) {
    if (by_cublas(a, r, stream)) return;
    const bool large = a.c.shape[0] * a.c.shape[1] >= int64_t{1} << 20;  // 64 large tiles and more
    with_math(r.math, [&](auto tag) {
      if (large)
        start<tag.math, LargeBlock>(a, stream);
      else
        start<tag.math, SmallBlock>(a, stream);
    });
  });
}

// Nothing is packed: tiles go through shared memory in any case.
void run(const GemmPackArgs&, Run&) {}

}  // namespace hf::cuda
