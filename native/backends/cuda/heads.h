// Numbers (N, H, D) whose rows and heads may be apart, read and written four at a time: what rope and copy
// share.
#pragma once

#include "backends/cuda/rows.h"

namespace hf::cuda {

struct Heads {
  Rows all;  // one row with every number
  int64_t step, head_step;

  // Columns c … c + 3 of a head; those from `count` on are 0, or not written.
  HF_DEVICE Four load(int64_t n, int head, int64_t c, int64_t count) const {
    return all.load(0, begin(n, head) + c, begin(n, head) + count);
  }
  HF_DEVICE void store(int64_t n, int head, int64_t c, int64_t count, const Four& x) const {
    all.store(0, begin(n, head) + c, begin(n, head) + count, x);
  }

 private:
  HF_DEVICE int64_t begin(int64_t n, int head) const { return n * step + head * head_step; }
};

inline Heads heads_of(const View& v) {
  Heads out{rows_of(v), v.stride[0], v.stride[1]};
  out.all.aligned = out.all.aligned && v.stride[0] % 4 == 0 && v.stride[1] % 4 == 0;
  return out;
}

}  // namespace hf::cuda
