// Rotary embedding (ops/attention/rope.h). The sines and cosines are computed in float64 once per distinct
// position and call, not per head: a table over the range of positions where that is no longer than the rows
// (packed sequences repeat positions), else one line per row (decoding). complexity: min(N, range) F sines, N
// H F rotations; memory: the table, 8 F bytes a line.
#include "backends/cpu/isa.h"
#include "backends/cpu/math_extra.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;        // numbers rotated in about 30 µs
constexpr int64_t kTableGrain = 1 << 14;   // angles in about 30 µs
constexpr double kLargestFastAngle = 1e6;  // beyond it libm reduces the angle

}  // namespace

void run(const RopeArgs& a, Run& r) {
  const int64_t N = a.x.shape[0], H = a.x.shape[1], F = a.inv_freq.shape[0];
  if (N == 0 || F == 0) return;
  const int32_t* positions = a.positions.as<int32_t>();
  const int64_t width = (F + kLanes - 1) / kLanes * kLanes;
  int64_t first = positions[0], last = positions[0];
  for (int64_t n = 1; n < N; ++n) {
    if (positions[n] < first) first = positions[n];
    if (positions[n] > last) last = positions[n];
  }
  const bool by_position = last - first < N;
  const int64_t lines = by_position ? last - first + 1 : N;

  Scratch scratch(r);
  double* frequency = scratch.allocate<double>(width);
  float* table = scratch.allocate<float>(lines * 2 * width);  // per line: cosines, then sines
  if (r.counting) return;
  double largest = 0;
  for (int64_t i = 0; i < width; ++i) {
    frequency[i] = i < F ? a.inv_freq.as<double>()[i] : 0;
    const double magnitude = frequency[i] < 0 ? -frequency[i] : frequency[i];
    if (magnitude > largest) largest = magnitude;
  }
  const double sign = a.inverse ? -a.scale : a.scale;
  parallel_rows(r, lines, width, kTableGrain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const double position = static_cast<double>(by_position ? first + line : positions[line]);
      float* cosines = table + line * 2 * width;
      float* sines = cosines + width;
      if (!((position < 0 ? -position : position) * largest <= kLargestFastAngle)) {
        for (int64_t i = 0; i < width; ++i) {
          cosines[i] = static_cast<float>(a.scale * __builtin_cos(position * frequency[i]));
          sines[i] = static_cast<float>(sign * __builtin_sin(position * frequency[i]));
        }
        continue;
      }
      for (int64_t i = 0; i < width; i += kLanes) {
        Doubles sine[2], cosine[2];
        for (int half = 0; half < 2; ++half)
          sin_cos(position * load(frequency + i + half * (kLanes / 2)), &sine[half], &cosine[half]);
        store(cosines + i, narrow(a.scale * cosine[0], a.scale * cosine[1]));
        store(sines + i, narrow(sign * sine[0], sign * sine[1]));
      }
    }
  });

  parallel_rows(r, N, H * 2 * F, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* cosines = table + (by_position ? positions[n] - first : n) * 2 * width;
      const float* sines = cosines + width;
      for (int64_t h = 0; h < H; ++h) {
        float* x = a.x.as<float>() + n * a.x.stride[0] + h * a.x.stride[1];
        each_vector(F, [&](int64_t i, int64_t count) HF_BODY {
          const Floats left = load_partial(x + i, count), right = load_partial(x + F + i, count);
          const Floats cosine = load(cosines + i), sine = load(sines + i);
          store_partial(x + i, left * cosine - right * sine, count);
          store_partial(x + F + i, right * cosine + left * sine, count);
        });
      }
    }
  });
}

}  // namespace hf::HF_ISA
