// A task takes a tile of pairs of functions; mean and deviation of the repeats by Welford's recurrence in the
// outputs themselves.
#include "ops/gram/cpu/gram_pairs.h"

namespace hf::HF_ISA {

void run(const SketchGramArgs& args, Run& r) {
  const bool symmetric = !args.sketches2;
  const View &x = args.sketches, &y = symmetric ? args.sketches : args.sketches2;
  const int64_t functions1 = x.shape[0], functions2 = y.shape[0], repeats = x.shape[1], width = x.shape[2];
  const int64_t blocks1 = (functions1 + kTile - 1) / kTile, blocks2 = (functions2 + kTile - 1) / kTile;
  const double scale = student_t_quantile(args.confidence, double(repeats - 1)) /
                       __builtin_sqrt(double(repeats - 1) * double(repeats));
  double *const mean = args.estimate.as<double>(), *const bar = args.half_width.as<double>();
  const int64_t mean_row = args.estimate.stride[0], bar_row = args.half_width.stride[0];
  checkpoint(r);
  parallel_for(r, symmetric ? blocks1 * (blocks1 + 1) / 2 : blocks1 * blocks2, [&](int64_t task) {
    const BlockPair pair = block_pair(task, blocks2, symmetric);
    const int64_t s0 = pair.b1 * kTile, s1 = s0 + kTile < functions1 ? s0 + kTile : functions1;
    const int64_t t0 = pair.b2 * kTile, t1 = t0 + kTile < functions2 ? t0 + kTile : functions2;
    alignas(64) float products[kTile * kTile + kLanes];
    const float *rows1[kTile], *rows2[kTile];
    for (int64_t repeat = 0; repeat < repeats; ++repeat) {
      for (int64_t s = s0; s < s1; ++s)
        rows1[s - s0] = x.as<const float>() + s * x.stride[0] + repeat * x.stride[1];
      for (int64_t t = t0; t < t1; ++t)
        rows2[t - t0] = y.as<const float>() + t * y.stride[0] + repeat * y.stride[1];
      row_products(rows1, s1 - s0, rows2, t1 - t0, width, products);
      for (int64_t s = s0; s < s1; ++s)
        for (int64_t t = t0; t < t1; ++t) {
          const double value = double(products[(t - t0) * kTile + s - s0]);
          double &m = mean[s * mean_row + t], &b = bar[s * bar_row + t];
          if (repeat == 0) m = 0, b = 0;
          const double delta = value - m;
          m += delta / double(repeat + 1);
          b += delta * (value - m);
        }
    }
    for (int64_t s = s0; s < s1; ++s)
      for (int64_t t = symmetric && pair.b1 == pair.b2 ? s : t0; t < t1; ++t) {
        double& b = bar[s * bar_row + t];
        b = scale * __builtin_sqrt(b);
        if (symmetric) mean[t * mean_row + s] = mean[s * mean_row + t], bar[t * bar_row + s] = b;
      }
  });
}

}  // namespace hf::HF_ISA
