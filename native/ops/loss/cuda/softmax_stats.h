// Statistics of a row of logits over part of the vocabulary, which any partition adds up to the same softmax.
#pragma once

#include "backends/cuda/platform.h"

namespace hf::cuda {

// m, Σ e^(z−m), Σ e^(z−m)(z−m), and the lowest id of the maximum.
struct Stats {
  float most, sum, moment;
  int32_t argmax;
};
HF_DEVICE Stats nothing() {
  return {-INFINITY, 0, 0, INT32_MAX};
}

// −∞ logits have p = 0 and add nothing, so a part without finite logits changes nothing.
HF_DEVICE Stats merge(const Stats& a, const Stats& b) {
  if (b.most == -INFINITY)
    return a.most == -INFINITY ? Stats{a.most, 0, 0, a.argmax < b.argmax ? a.argmax : b.argmax} : a;
  if (a.most == -INFINITY) return b;
  const float most = fmaxf(a.most, b.most), da = a.most - most, db = b.most - most, ea = expf(da),
              eb = expf(db);
  Stats out;
  out.most = most;
  out.sum = a.sum * ea + b.sum * eb;
  out.moment = ea * (a.moment + da * a.sum) + eb * (b.moment + db * b.sum);
  out.argmax = a.most > b.most   ? a.argmax
               : b.most > a.most ? b.argmax
                                 : (a.argmax < b.argmax ? a.argmax : b.argmax);
  return out;
}
HF_DEVICE Stats shuffle_stats(const Stats& s, int flip) {
  return {__shfl_xor_sync(kAllLanes, s.most, flip), __shfl_xor_sync(kAllLanes, s.sum, flip),
          __shfl_xor_sync(kAllLanes, s.moment, flip), __shfl_xor_sync(kAllLanes, s.argmax, flip)};
}

}  // namespace hf::cuda
