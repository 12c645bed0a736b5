// Rotary embedding in place. A thread owns four pairs (x[i], x[i + F]) of up to 16 heads of a row, so that
// one angle (float64, as in the contract, about 100 operations) serves them all. Where there are few threads,
// each has fewer heads. No shared memory. Memory bound: 8 bytes a number for 3 operations and a share of an
// angle.
#include "backends/cuda/heads.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kFlight = 2;                   // heads whose loads are under way together
constexpr int64_t kEnoughThreads = 1 << 16;  // for a large chip: half of what it holds

// A thread has `each` heads; heads are over y of the grid. 2^shift threads share a row.
HF_KERNEL __launch_bounds__(kThreads, 3)
    rope_kernel(Heads x, const int32_t* positions, const double* inv_freq, int64_t rows, int heads, int each,
                int pairs, int shift, double scale, double sign) {
  const int64_t n = int64_t(blockIdx.x) * (kThreads >> shift) + (threadIdx.x >> shift);
  if (n >= rows) return;
  const int begin = int(blockIdx.y) * each, end = begin + each < heads ? begin + each : heads;
  const double position = sign * positions[n];
  for (int item = int(threadIdx.x & ((1u << shift) - 1)) * 4; item < pairs; item += 4 << shift) {
    float c[4], s[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      double sine, cosine;
      sincos(item + i < pairs ? position * inv_freq[item + i] : 0.0, &sine, &cosine);
      c[i] = static_cast<float>(scale * cosine);
      s[i] = static_cast<float>(scale * sine);
    }
    for (int head = begin; head < end; head += kFlight) {
      Four a[kFlight], b[kFlight];
#pragma unroll
      for (int h = 0; h < kFlight; ++h)
        if (head + h < end) {
          a[h] = x.load(n, head + h, item, pairs);
          b[h] = x.load(n, head + h, pairs + item, 2 * pairs);
        }
#pragma unroll
      for (int h = 0; h < kFlight; ++h) {
        if (head + h >= end) break;
        Four p, q;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          p.v[i] = a[h].v[i] * c[i] - b[h].v[i] * s[i];
          q.v[i] = b[h].v[i] * c[i] + a[h].v[i] * s[i];
        }
        x.store(n, head + h, item, pairs, p);
        x.store(n, head + h, pairs + item, 2 * pairs, q);
      }
    }
  }
}

}  // namespace

void run(const RopeArgs& args, Run& r) {
  on_device(args, r, [](const RopeArgs& a, Stream& stream) {
    const int64_t rows = a.x.shape[0], heads = a.x.shape[1], pairs = a.inv_freq.shape[0];
    Heads x = heads_of(a.x);
    x.all.aligned = x.all.aligned && pairs % 4 == 0;
    const int shift = share_of_block(pairs);
    int each = 16;
    while (each > 1 && (rows << shift) * blocks(heads, each) < kEnoughThreads)
      each /= 2;
    launch("rope", rope_kernel, dim3(blocks(rows, kThreads >> shift), pairs ? blocks(heads, each) : 0),
           kThreads, 0, stream, x, a.positions.as<const int32_t>(), a.inv_freq.as<const double>(), rows,
           int(heads), each, int(pairs), shift, a.scale, a.inverse ? -1.0 : 1.0);
  });
}

}  // namespace hf::cuda
