// Copies numbers (N, H, D) whose rows and heads may be apart. A thread owns sixteen columns of a row, four
// times four under way together, of every head; 2^shift threads share a row, so that a block of 256 has
// several short ones. No shared memory. Memory bound: 8 bytes a number.
#include <algorithm>

#include "backends/cuda/heads.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kFlight = 4;  // loads of a thread that are under way together

// A row of `columns` is cut into `chunks`. The heads are over y of the grid.
HF_KERNEL __launch_bounds__(kThreads)
    copy_kernel(Heads x, Heads y, int64_t rows, int heads, int64_t columns, unsigned chunks, int shift) {
  const int64_t n = int64_t(blockIdx.x / chunks) * (kThreads >> shift) + (threadIdx.x >> shift);
  const int64_t first =
      (int64_t(blockIdx.x % chunks) * (kFlight << shift) + (threadIdx.x & ((1u << shift) - 1))) * 4;
  if (n >= rows) return;
  for (int head = int(blockIdx.y); head < heads; head += int(gridDim.y)) {
    Four a[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      if (const int64_t c = first + (int64_t(4 * i) << shift); c < columns)
        a[i] = x.load(n, head, c, columns);
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      if (const int64_t c = first + (int64_t(4 * i) << shift); c < columns)
        y.store(n, head, c, columns, a[i]);
  }
}

}  // namespace

void run(const CopyArgs& args, Run& r) {
  on_device(args, r, [](const CopyArgs& a, Stream& stream) {
    int64_t rows = a.x.shape[0];
    int64_t heads = a.x.shape[1];
    int64_t columns = a.x.shape[2];
    // Dimensions that follow each other without a gap are one.
    if (heads == 1 || (a.x.stride[1] == columns && a.y.stride[1] == columns)) {
      columns *= heads;
      heads = 1;
    }
    if (heads == 1 && a.x.stride[0] == columns && a.y.stride[0] == columns) {
      columns *= rows;
      rows = 1;
    }
    const int shift = share_of_block((columns + kFlight - 1) / kFlight);
    const unsigned chunks = blocks(columns, int64_t(4 * kFlight) << shift);
    const unsigned most_heads = unsigned(std::min<int64_t>(heads, 65535));
    const dim3 grid(blocks(rows, kThreads >> shift) * chunks, most_heads);
    launch("copy", copy_kernel, grid, kThreads, 0, stream, heads_of(a.x), heads_of(a.y), rows, int(heads),
           columns, chunks, shift);
  });
}

}  // namespace hf::cuda
