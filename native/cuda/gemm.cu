// C = alpha · A B (+ bias) (+ residual), or added to C. A block owns a tile of C, 64 × 64 (4 warps of 32 × 32, 54 KiB of shared memory) or, when those
// are many, 128 × 128 (8 warps of 64 × 32, 108 KiB). The sum over k runs in one order whatever M and N are and whichever tile it is.
// Compute bound: a 128 × 128 tile reads 8 bytes of operands, from L2 mostly, for every 128 multiply-adds.
// Large products go to cuBLASLt where the machine has it; its order of sums depends on the shape.
#include "core/error.h"
#include "cuda/cast.h"
#include "cuda/cublas.h"
#include "cuda/stage.h"
#include "cuda/tile.h"

namespace hf::cuda {
namespace {

struct Epilogue {
  float* c;
  int64_t c_step;
  const float* bias;
  int64_t bias_step;
  const float* residual;
  int64_t residual_step;
  float alpha;
  bool accumulate, upper;
};

template <Math math, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) gemm_kernel(Operand a, Operand b, int64_t M, int64_t N, int64_t K, Epilogue e) {
  const int64_t row0 = int64_t(blockIdx.y + blockIdx.z * gridDim.y) * Shape::kRows, column0 = int64_t(blockIdx.x) * Shape::kColumns;
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
    float* target = e.c + m * e.c_step + n;
    *target = e.accumulate ? *target + out : out;
  });
}

template <Math math, class Shape>
void start(const GemmArgs& a, Stream& stream) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1], K = a.a.shape[1];
  Epilogue e{};
  e.c = a.c.as<float>(), e.c_step = a.c.stride[0];
  e.bias = a.bias.as<const float>(), e.bias_step = a.bias ? a.bias.stride[0] : 0;
  e.residual = a.residual.as<const float>(), e.residual_step = a.residual ? a.residual.stride[0] : 0;
  e.alpha = float(a.alpha), e.accumulate = a.accumulate, e.upper = a.triangle == Triangle::kUpper;
  const unsigned rows = blocks(M, Shape::kRows), y = rows < 32768 ? rows : 32768;
  launch("gemm", gemm_kernel<math, Shape>, dim3(blocks(N, Shape::kColumns), y, y ? blocks(rows, y) : 0), Shape::kThreads, Shape::kSharedBytes, stream,
         operand_of(a.a), operand_of(a.b.transposed()), M, N, K, e);
}

// Multiply-adds from which on cuBLAS is the faster one; estimates, until they are measured. Below, starting it (and two kernels that round the
// operands) takes longer than the product; exact float32 runs on the same units in both.
constexpr double least_work(Math math) { return math == Math::kExact ? double(1 << 27) : double(1 << 25); }
// So few rows or columns read every weight once, and rounding it first would read and write it besides.
constexpr int64_t kFew = 64;

// False when the product is left to the kernel above.
bool by_cublas(const GemmArgs& a, Run& run, Stream& stream) {
  const int64_t M = a.c.shape[0], N = a.c.shape[1], K = a.a.shape[1];
  if (double(M) * double(N) * double(K) < least_work(run.math) || a.triangle == Triangle::kUpper || (a.accumulate && a.residual) || !blas_available()) return false;
  if (!plain_matrix(a.a) || !plain_matrix(a.b)) return false;
  Product p;
  p.a = a.a, p.b = a.b, p.d = a.c, p.c = a.accumulate ? a.c : a.residual, p.bias = a.bias, p.alpha = float(a.alpha), p.tf32 = run.math == Math::kTf32;
  const bool rounded = a.a.dtype == DType::kBF16 && a.b.dtype == DType::kBF16;
  if (run.math == Math::kBf16 ? !rounded && (M <= kFew || N <= kFew) : a.a.dtype != DType::kF32 || a.b.dtype != DType::kF32) return false;
  try {
    if (run.math == Math::kBf16) p.a = bf16_copy(a.a, run), p.b = bf16_copy(a.b, run);
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
    with_math(r.math, [&](auto tag) { large ? start<tag.math, LargeBlock>(a, stream) : start<tag.math, SmallBlock>(a, stream); });
  });
}

// Nothing is packed: tiles go through shared memory in any case.
void run(const GemmPackArgs&, Run&) {}

}  // namespace hf::cuda
