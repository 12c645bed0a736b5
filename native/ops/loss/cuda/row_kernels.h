// From the logits and statistics of a chunk of rows to losses, and to the gradient of the logits in their
// place.
#pragma once

#include "backends/cuda/pack_rows.h"
#include "backends/cuda/rows.h"
#include "ops/loss/cuda/softmax_stats.h"
#include "ops/loss/cuda/wide_logits.h"
#include "ops/loss/token_loss.h"

namespace hf::cuda {

// What is known of a chunk's rows; every array (rows).
struct RowStats {
  float *most, *log_sum, *entropy, *logp;

  // log softmax of a logit of row n: z − lse would lose digits at large logits.
  HF_DEVICE float log_p(int64_t n, float z) const { return (z - most[n]) - log_sum[n]; }
};

// Outputs of the call from row n on; absent: null.
struct RowOutputs {
  float *entropy, *max_prob, *lse, *logp;
  int32_t* argmax;
};

// A warp a row: the tiles' statistics together.
HF_KERNEL __launch_bounds__(kThreads)
    softmax_kernel(const Stats* stats, int64_t tiles, const float* target_z, const int32_t* targets,
                   int64_t target_step, int64_t rows, RowStats out, RowOutputs o) {
  const int64_t n = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (n >= rows) return;
  Stats s = nothing();
  for (int64_t i = threadIdx.x % kWarp; i < tiles; i += kWarp)
    s = merge(s, stats[n * tiles + i]);
#pragma unroll
  for (int flip = 1; flip < kWarp; flip *= 2)
    s = merge(s, shuffle_stats(s, flip));
  if (threadIdx.x % kWarp) return;
  const float log_sum = logf(s.sum), entropy = log_sum - s.moment / s.sum;
  const float logp = targets[n * target_step] == loss::kIgnored ? 0.0f : (target_z[n] - s.most) - log_sum;
  out.most[n] = s.most;
  out.log_sum[n] = log_sum;
  out.entropy[n] = entropy;
  out.logp[n] = logp;
  if (o.logp) o.logp[n] = logp;
  if (o.entropy) o.entropy[n] = entropy;
  if (o.max_prob) o.max_prob[n] = expf(-log_sum);
  if (o.lse) o.lse[n] = s.most + log_sum;
  if (o.argmax) o.argmax[n] = s.argmax;
}

// A chunk's logits, four at a time, and where their gradient goes: the same memory.
struct FloatLogits {
  Rows z;
  HF_DEVICE Four load(int64_t n, int64_t v, int64_t count) const { return z.load(n, v, count); }
  HF_DEVICE void store(int64_t n, int64_t v, int64_t count, const Four& x) const { z.store(n, v, count, x); }
};
// As wide_logits leaves them: float16 below the maximum of the row's tile. The gradient is bfloat16.
struct TileLogits {
  uint16_t* z;
  int64_t step;  // a multiple of 8: the columns past the vocabulary are there, and −∞
  const Stats* stats;
  int64_t tiles;
  HF_DEVICE Four load(int64_t n, int64_t v, int64_t) const {
    const uint2 bits = *reinterpret_cast<const uint2*>(z + n * step + v);
    const float2 low = from_f16x2(bits.x), high = from_f16x2(bits.y);
    const float most = stats[n * tiles + v / kWideVocabulary].most;
    return {{most + low.x, most + low.y, most + high.x, most + high.y}};
  }
  HF_DEVICE void store(int64_t n, int64_t v, int64_t, const Four& x) const {
    store_whole(z + n * step + v, make_uint2(to_bf16x2(x.v[0], x.v[1]), to_bf16x2(x.v[2], x.v[3])));
  }
};

// kl[n] = Σ_v p (log p − log q), a block a row.
template <class Source>
__global__ void __launch_bounds__(kThreads)
    exact_kl_kernel(Source z, Source ref_z, int64_t vocabulary, RowStats p, RowStats q, float* kl) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads / kWarp);
  const int64_t n = blockIdx.x;
  float sum = 0;
  for (int64_t v = 4 * threadIdx.x; v < vocabulary; v += 4 * kThreads) {
    const Four x = z.load(n, v, vocabulary), y = ref_z.load(n, v, vocabulary);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (x.v[i] == -INFINITY || v + i >= vocabulary) continue;
      const float log_p = p.log_p(n, x.v[i]), log_q = q.log_p(n, y.v[i]);
      sum += expf(log_p) * (log_p - log_q);
    }
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) kl[n] = sum;
}

// Losses and coefficients: a thread a row from `begin` on, or a sequence from the first on.
HF_KERNEL __launch_bounds__(kThreads)
    rows_kernel(LinearPolicyGradientArgs a, int64_t begin, int64_t count, const float* logp,
                const float* entropy, const float* kl, loss::RowCoefficients<float>* coefs) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  int64_t first = begin + i, last = first + 1;
  if (a.importance != ImportanceLevel::kToken) {
    const int32_t* offsets = a.offsets.as<const int32_t>();
    first = offsets[i * a.offsets.stride[0]];
    last = offsets[(i + 1) * a.offsets.stride[0]];
  }
  const int64_t at = first - begin;
  loss::rows(a, first, last, logp + at, entropy + at, kl ? kl + at : nullptr, coefs + at);
}

template <class Source>
struct Gradient {
  Source z, ref_z;
  RowStats p, q;
  const float* kl;  // null: no exact KL, and no ref_z
  const loss::RowCoefficients<float>* coefs;
  const int32_t* targets;
  int64_t target_step, vocabulary;
  int64_t chunks;  // blocks of a row
  float temperature;
};

// z[n, v] becomes dL/dz / τ; 4 columns a thread.
template <class Source>
__global__ void __launch_bounds__(kThreads) gradient_kernel(Gradient<Source> p) {
  const int64_t n = blockIdx.x / p.chunks, v = blockIdx.x % p.chunks * (4 * kThreads) + 4 * threadIdx.x;
  if (v >= p.vocabulary) return;
  const int32_t target = p.targets[n * p.target_step];
  Four x = p.z.load(n, v, p.vocabulary);
  const Four other = p.kl ? p.ref_z.load(n, v, p.vocabulary) : Four{{0, 0, 0, 0}};
  const loss::RowCoefficients<float> c = p.coefs[n];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float g = 0;
    if (target != loss::kIgnored) {
      if (v + i == target) g = -c.coef;
      if (x.v[i] != -INFINITY) {
        const float log_p = p.p.log_p(n, x.v[i]);
        float factor = c.coef + c.entropy * (log_p + p.p.entropy[n]);
        if (p.kl) factor += c.kl * (log_p - p.q.log_p(n, other.v[i]) - p.kl[n]);
        g += expf(log_p) * factor;
      }
    }
    x.v[i] = g / p.temperature;
  }
  p.z.store(n, v, p.vocabulary, x);
}

}  // namespace hf::cuda
