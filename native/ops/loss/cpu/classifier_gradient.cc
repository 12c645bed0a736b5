// Gradients with respect to logits (ops/loss/classifier_gradient.h). Bound by the exponentials: a task owns a
// block of rows.
#include "backends/cpu/isa.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {

void run(const ClassifierGradientArgs& a, Run& r) {
  const int64_t V = a.z.shape[1];
  const View& out = a.g ? a.g : a.z;
  const bool softmax(a.lse);
  parallel_rows(r, a.z.shape[0], V, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* z = a.z.as<float>() + n * a.z.stride[0];
      float* g = out.as<float>() + n * out.stride[0];
      const float scale = a.scale ? a.scale.as<float>()[n] : 1.0f;
      const float shift = a.lse ? a.lse.as<float>()[n] : 0.0f;
      const int64_t target = a.targets.as<int32_t>()[n] - a.first_id;
      const bool here = target >= 0 && target < V;
      // g may lie where z does: the target's probability is taken before it is overwritten.
      const float p = softmax && here ? exp(Floats{} + (z[target] - shift))[0] : 0.0f;
      each_vector(V, [&](int64_t v, int64_t count) HF_BODY {
        store_partial(g + v, softmax ? -scale * exp(load_partial(z + v, count) - shift) : Floats{}, count);
      });
      if (here) g[target] = scale * (1.0f - p);
    }
  });
}

}  // namespace hf::HF_ISA
