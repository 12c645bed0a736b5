// The gradient of every row's score with respect to its logits: 1[column is the target] − softmax, times the
// row's scale. A thread owns four columns of a row, a block 1,024. No shared memory. Memory bound: 8 bytes a
// number for at most a dozen operations.
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;  // of a block

// Without `lse` there is no softmax to take away.
HF_KERNEL __launch_bounds__(kThreads)
    gradient_kernel(Rows z, Rows g_rows, const float* lse, const int32_t* targets, const float* scale,
                    int64_t first_id, int64_t columns, int64_t chunks) {
  const int64_t n = blockIdx.x / chunks, c = blockIdx.x % chunks * kColumns + 4 * threadIdx.x;
  if (c >= columns) return;
  const int64_t target = targets[n] - first_id;
  Four a = {{0, 0, 0, 0}};
  if (lse) a = z.load(n, c, columns);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float g = c + i == target ? 1.0f : 0.0f;
    if (lse) g -= expf(a.v[i] - lse[n]);
    a.v[i] = scale ? scale[n] * g : g;
  }
  g_rows.store(n, c, columns, a);
}

}  // namespace

void run(const ClassifierGradientArgs& args, Run& r) {
  on_device(args, r, [](const ClassifierGradientArgs& a, Stream& stream) {
    const int64_t chunks = blocks(a.z.shape[1], kColumns);
    launch("classifier_gradient", gradient_kernel, dim3(unsigned(a.z.shape[0] * chunks)), kThreads, 0, stream,
           rows_of(a.z), rows_of(a.g ? a.g : a.z), a.lse.as<const float>(), a.targets.as<const int32_t>(),
           a.scale.as<const float>(), a.first_id, a.z.shape[1], chunks);
  });
}

}  // namespace hf::cuda
