// Rotary embedding (ops/attention/rope.h). The sines and cosines are computed in float64 once per distinct
// position and call, not per head: in a table over the range of positions where that is no longer than the
// rows (packed sequences repeat positions), else with one line per row (decoding). Tasks own lines of the
// table, then rows of x. Complexity: min(N, range) F sines, N H F rotations; memory: the table, 8 F bytes a
// line.
#include "backends/cpu/isa.h"
#include "backends/cpu/math_extra.h"
#include "backends/cpu/rows.h"
#include "ops/attention/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;        // numbers rotated in about 30 µs
constexpr int64_t kTableGrain = 1 << 14;   // angles in about 30 µs
constexpr double kLargestFastAngle = 1e6;  // beyond it libm reduces the angle

HF_INLINE double magnitude(double x) {
  return x < 0 ? -x : x;
}

// The frequencies padded with zeros to `width`; returns the largest magnitude.
double copy_frequencies(const View& inv_freq, int64_t width, double* frequencies) {
  const int64_t F = inv_freq.shape[0];
  double largest = 0;
  for (int64_t i = 0; i < width; ++i) {
    frequencies[i] = i < F ? inv_freq.as<double>()[i] : 0;
    if (magnitude(frequencies[i]) > largest) largest = magnitude(frequencies[i]);
  }
  return largest;
}

// One line of the table: cosines · cosine_scale, then sines · sine_scale, of position · frequency.
struct Angles {
  const double* frequencies;
  int64_t width;
  double largest;
  double cosine_scale;
  double sine_scale;

  HF_INLINE void line(double position, float* cosines, float* sines) const {
    const bool fast = magnitude(position) * largest <= kLargestFastAngle;
    if (!fast) {
      for (int64_t i = 0; i < width; ++i) {
        cosines[i] = static_cast<float>(cosine_scale * __builtin_cos(position * frequencies[i]));
        sines[i] = static_cast<float>(sine_scale * __builtin_sin(position * frequencies[i]));
      }
      return;
    }
    for (int64_t i = 0; i < width; i += kLanes) {
      Doubles sine[2];
      Doubles cosine[2];
      for (int half = 0; half < 2; ++half)
        sin_cos(position * load(frequencies + i + half * (kLanes / 2)), &sine[half], &cosine[half]);
      store(cosines + i, narrow(cosine_scale * cosine[0], cosine_scale * cosine[1]));
      store(sines + i, narrow(sine_scale * sine[0], sine_scale * sine[1]));
    }
  }
};

// Rotates the pairs (x[i], x[F + i]) of one head in place.
HF_INLINE void rotate(float* x, const float* cosines, const float* sines, int64_t F) {
  each_vector(F, [&](int64_t i, int64_t count) HF_BODY {
    const Floats left = load_partial(x + i, count);
    const Floats right = load_partial(x + F + i, count);
    const Floats cosine = load(cosines + i);
    const Floats sine = load(sines + i);
    store_partial(x + i, left * cosine - right * sine, count);
    store_partial(x + F + i, right * cosine + left * sine, count);
  });
}

}  // namespace

void run(const RopeArgs& a, Run& r) {
  const int64_t N = a.x.shape[0];
  const int64_t H = a.x.shape[1];
  const int64_t F = a.inv_freq.shape[0];
  if (N == 0 || F == 0) return;
  const int32_t* positions = a.positions.as<int32_t>();
  const cpu::RopeTable sizes(a, kLanes);
  const int64_t width = sizes.width;
  Scratch scratch(r);
  double* frequencies = scratch.allocate<double>(width);
  const double largest = copy_frequencies(a.inv_freq, width, frequencies);
  const Angles angles = {frequencies, width, largest, a.scale, a.inverse ? -a.scale : a.scale};

  float* table = scratch.allocate<float>(sizes.floats());
  parallel_rows(r, sizes.lines, width, kTableGrain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t position = sizes.by_position ? sizes.first + line : positions[line];
      float* cosines = table + line * 2 * width;
      angles.line(static_cast<double>(position), cosines, cosines + width);
    }
  });

  parallel_rows(r, N, H * 2 * F, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t line = sizes.by_position ? positions[n] - sizes.first : n;
      const float* cosines = table + line * 2 * width;
      for (int64_t h = 0; h < H; ++h)
        rotate(a.x.as<float>() + n * a.x.stride[0] + h * a.x.stride[1], cosines, cosines + width, F);
    }
  });
}

}  // namespace hf::HF_ISA
