// Σ x² in float64. A block owns 16,384 numbers, a thread 64 of them, 16 under way together. A last block adds
// the blocks' sums up in order, so that the bits are the same every time. Shared memory: 64 bytes. Memory
// bound: 4 bytes a number for 2 operations, both float64 (at half or a sixty-fourth of the float32 rate).
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int64_t kBlock = 64 * kThreads;
constexpr int kFlight = 4;  // loads of a thread that are under way together
constexpr int kShared = kThreads / kWarp * sizeof(double);

HF_KERNEL __launch_bounds__(kThreads) squares_kernel(Rows x, int64_t count, double* sums) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kThreads / kWarp);
  const int64_t begin = int64_t(blockIdx.x) * kBlock;
  const int64_t end = begin + kBlock < count ? begin + kBlock : count;
  double sum = 0;
  for (int64_t c = begin + 4 * threadIdx.x; c < end; c += 4 * kFlight * kThreads) {
    Four a[kFlight];
#pragma unroll
    for (int k = 0; k < kFlight; ++k)
      a[k] = x.load(0, c + 4 * k * kThreads, count);
#pragma unroll
    for (int k = 0; k < kFlight; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sum += double(a[k].v[i]) * double(a[k].v[i]);
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

HF_KERNEL __launch_bounds__(kThreads)
    add_sums_kernel(const double* sums, int64_t count, double* y, bool accumulate) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kThreads / kWarp);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads)
    sum += sums[i];
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) *y = accumulate ? *y + sum : sum;
}

}  // namespace

void run(const SumOfSquaresArgs& args, Run& r) {
  on_device(args, r, [&](const SumOfSquaresArgs& a, Stream& stream) {
    const int64_t count = a.x.shape[0], parts = blocks(count, kBlock);
    double* sums = device_scratch<double>(r, parts);
    launch("sum_of_squares", squares_kernel, dim3(unsigned(parts)), kThreads, kShared, stream, rows_of(a.x),
           count, sums);
    launch("sum_of_squares", add_sums_kernel, dim3(1), kThreads, kShared, stream, sums, parts,
           a.y.as<double>(), a.accumulate);
  });
}

}  // namespace hf::cuda
