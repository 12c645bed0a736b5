// The kernel that sketches estimate, with its error bar (ops/sketch/sketch_gram.h). A task owns a tile of
// pairs of functions. Mean and deviation of the repeats are made by Welford's recurrence in the outputs
// themselves: until the last repeat, half_width holds the sum of squared deviations.
#include "ops/gram/cpu/gram_pairs.h"

namespace hf::HF_ISA {
namespace {

struct SketchGram {
  View x;
  View y;
  bool symmetric;  // y is x
  double* mean;
  int64_t mean_row;
  double* bar;  // half_width
  int64_t bar_row;
  double scale;  // of the root of the sum of squared deviations

  void estimate(RowRange s_range, RowRange t_range) const {
    alignas(64) float products[kTile * kTile + kLanes];
    const float* rows1[kTile];
    const float* rows2[kTile];
    for (int64_t repeat = 0; repeat < x.shape[1]; ++repeat) {
      sketches_in(x, s_range, repeat, rows1);
      sketches_in(y, t_range, repeat, rows2);
      row_products(rows1, s_range.count(), rows2, t_range.count(), x.shape[2], products);
      for (int64_t s = s_range.begin; s < s_range.end; ++s)
        for (int64_t t = t_range.begin; t < t_range.end; ++t)
          add(s, t, repeat, double(products[(t - t_range.begin) * kTile + s - s_range.begin]));
    }
    const bool diagonal = symmetric && s_range.begin == t_range.begin;
    for (int64_t s = s_range.begin; s < s_range.end; ++s)
      for (int64_t t = diagonal ? s : t_range.begin; t < t_range.end; ++t)
        finish(s, t);
  }

 private:
  HF_INLINE static void sketches_in(const View& v, RowRange range, int64_t repeat, const float** rows) {
    for (int64_t s = range.begin; s < range.end; ++s)
      rows[s - range.begin] = v.as<const float>() + s * v.stride[0] + repeat * v.stride[1];
  }
  HF_INLINE void add(int64_t s, int64_t t, int64_t repeat, double value) const {
    double& m = mean[s * mean_row + t];
    double& b = bar[s * bar_row + t];
    if (repeat == 0) {
      m = 0;
      b = 0;
    }
    const double delta = value - m;
    m += delta / double(repeat + 1);
    b += delta * (value - m);
  }
  HF_INLINE void finish(int64_t s, int64_t t) const {
    double& b = bar[s * bar_row + t];
    b = scale * __builtin_sqrt(b);
    if (!symmetric) return;
    mean[t * mean_row + s] = mean[s * mean_row + t];
    bar[t * bar_row + s] = b;
  }
};

}  // namespace

void run(const SketchGramArgs& args, Run& r) {
  const bool symmetric = !args.sketches2;
  const View& x = args.sketches;
  const View& y = symmetric ? args.sketches : args.sketches2;
  const double repeats = double(x.shape[1]);
  const double t = student_t_quantile(args.confidence, repeats - 1);
  const SketchGram work = {
      .x = x,
      .y = y,
      .symmetric = symmetric,
      .mean = args.estimate.as<double>(),
      .mean_row = args.estimate.stride[0],
      .bar = args.half_width.as<double>(),
      .bar_row = args.half_width.stride[0],
      .scale = t / __builtin_sqrt((repeats - 1) * repeats),
  };
  const int64_t functions1 = x.shape[0];
  const int64_t functions2 = y.shape[0];
  const int64_t blocks1 = divide_up(functions1, kTile);
  const int64_t blocks2 = divide_up(functions2, kTile);
  checkpoint(r);
  parallel_for(r, count_block_pairs(blocks1, blocks2, symmetric), [&](int64_t task) {
    const BlockPair pair = block_pair(task, blocks2, symmetric);
    const int64_t s0 = pair.b1 * kTile;
    const int64_t t0 = pair.b2 * kTile;
    work.estimate({s0, least(s0 + kTile, functions1)}, {t0, least(t0 + kTile, functions2)});
  });
}

}  // namespace hf::HF_ISA
