// The classifier with its softmax, loss and gradients. Rows come in chunks; per chunk:
//   logits_kernel   z = (h Wᵀ + bias) / τ by tiles of the vocabulary, with every row's maximum, Σ e^(z−m), Σ e^(z−m)(z−m) and argmax over the tile from the
//                   accumulators. A block owns 128 × 128 of z (8 warps of 64 × 32, 108 KiB of shared memory; 64 × 64 when there is little). Without
//                   gradients z is not written: forward-only calls hold the tiles' statistics alone.
//   softmax_kernel  a warp a row: tiles together, log-probability, entropy
//   rows_kernel     a thread a row (or sequence): ops/loss/pg_coef.h, as on the CPU
//   gradient_kernel z becomes dL/dz in place; then gemm gives d_hidden and adds to d_weight.
// In bf16 on Hopper large calls take wide_logits for the first of these: z is float16 below its tile's
// maximum, and its gradient bfloat16 in the same place. Never materialised: [N, V]. A chunk's z is at most
// 500 MB. Compute bound: 2NVC + 2NVC for each gradient; the epilogues read and write 4 bytes a logit (wide:
// 2) three times, about a tenth of the products' time at C 4096.
#include <algorithm>
#include <type_traits>

#include "backends/cuda/pack_rows.h"
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"
#include "backends/cuda/tile.h"
#include "ops/loss/cuda/softmax_stats.h"
#include "ops/loss/cuda/wide_logits.h"
#include "ops/loss/pg_coef.h"

namespace hf::cuda {
namespace {

struct Logits {
  Operand hidden, weight;
  int64_t rows, vocabulary, depth;
  const float* bias;
  int64_t bias_step;
  float temperature;
  const int32_t* targets;
  int64_t target_step;
  float* z;  // (rows, z_step) or null
  int64_t z_step;
  float* target_z;  // (rows)
  Stats* stats;     // (rows, tiles)
  int64_t tiles;
};

template <Math math, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) logits_kernel(Logits p) {
  const int64_t row0 = int64_t(blockIdx.x) * Shape::kRows, column0 = int64_t(blockIdx.y) * Shape::kColumns;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  const Shared<float> most = cast<float>(stages), sums = most + Shape::kRows * Shape::kWarpColumns,
                      moments = sums + Shape::kRows * Shape::kWarpColumns;
  const Shared<int32_t> argmaxes = cast<int32_t>(moments + Shape::kRows * Shape::kWarpColumns);
  float acc[Shape::kMT][Shape::kNT][4];
  clear(acc);
  block_product<math, Shape>(acc, stages, p.hidden, row0, p.rows, p.weight, column0, p.vocabulary, 0,
                             p.depth);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4,
            warp_column = int(threadIdx.x) / kWarp % Shape::kWarpColumns;
#pragma unroll
  for (int i = 0; i < Shape::kMT; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = Shape::warp_row() + 16 * i + g + 8 * half;
      const int64_t n = row0 + row;
      const int64_t target = n < p.rows ? p.targets[n * p.target_step] : -1;
      Stats s = nothing();
#pragma unroll
      for (int j = 0; j < Shape::kNT; ++j)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int64_t v = column0 + Shape::warp_column() + 8 * j + 2 * t + r;
          float& x = acc[i][j][2 * half + r];
          if (n >= p.rows || v >= p.vocabulary) {
            x = -INFINITY;
            continue;
          }
          x = (p.bias ? x + p.bias[v * p.bias_step] : x) / p.temperature;
          if (p.z) p.z[n * p.z_step + v] = x;
          if (v == target) p.target_z[n] = x;
          if (x > s.most || s.argmax == INT32_MAX) s.most = x, s.argmax = int32_t(v);
        }
#pragma unroll
      for (int j = 0; j < Shape::kNT; ++j)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float x = acc[i][j][2 * half + r];
          if (x == -INFINITY) continue;
          const float e = expf(x - s.most);
          s.sum += e, s.moment += e * (x - s.most);
        }
      s = merge(s, shuffle_stats(s, 1));
      s = merge(s, shuffle_stats(s, 2));
      if (t == 0) {
        const int at = row * Shape::kWarpColumns + warp_column;
        most[at] = s.most, sums[at] = s.sum, moments[at] = s.moment, argmaxes[at] = s.argmax;
      }
    }
  __syncthreads();
  for (int row = threadIdx.x; row < Shape::kRows; row += Shape::kThreads) {
    if (row0 + row >= p.rows) continue;
    Stats s = nothing();
    for (int w = 0; w < Shape::kWarpColumns; ++w) {
      const int at = row * Shape::kWarpColumns + w;
      s = merge(s, Stats{most[at], sums[at], moments[at], argmaxes[at]});
    }
    p.stats[(row0 + row) * p.tiles + blockIdx.y] = s;
  }
}

// What is known of a chunk's rows; every array (rows).
struct RowStats {
  float *most, *log_sum, *entropy, *logp;
};

// A warp a row. lse, max_prob, argmax, entropy and logp of the call's outputs (absent: null) at row n.
struct RowOutputs {
  float *entropy, *max_prob, *lse, *logp;
  int32_t* argmax;
};
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
  const float logp = targets[n * target_step] == pg::kIgnored ? 0.0f : (target_z[n] - s.most) - log_sum;
  out.most[n] = s.most, out.log_sum[n] = log_sum, out.entropy[n] = entropy, out.logp[n] = logp;
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
      const float log_p = (x.v[i] - p.most[n]) - p.log_sum[n], log_q = (y.v[i] - q.most[n]) - q.log_sum[n];
      sum += expf(log_p) * (log_p - log_q);
    }
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) kl[n] = sum;
}

// Loss and coefficients of rows begin … end − 1: a thread a row, or a sequence (offsets from `first` on).
HF_KERNEL __launch_bounds__(kThreads)
    rows_kernel(LinearPolicyGradientArgs a, int64_t begin, int64_t count, const float* logp,
                const float* entropy, const float* kl, pg::RowCoefs<float>* coefs) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  int64_t first = begin + i, last = first + 1;
  if (a.importance != ImportanceLevel::kToken) {
    const int32_t* offsets = a.offsets.as<const int32_t>();
    first = offsets[i * a.offsets.stride[0]], last = offsets[(i + 1) * a.offsets.stride[0]];
  }
  const int64_t at = first - begin;
  pg::rows(a, first, last, logp + at, entropy + at, kl ? kl + at : nullptr, coefs + at);
}

// z[n, v] becomes dL/dz / τ; 4 columns a thread.
template <class Source>
struct Gradient {
  Source z, ref_z;
  RowStats p, q;
  const float* kl;  // null: no exact KL, and no ref_z
  const pg::RowCoefs<float>* coefs;
  const int32_t* targets;
  int64_t target_step, vocabulary, chunks;
  float temperature;
};
template <class Source>
__global__ void __launch_bounds__(kThreads) gradient_kernel(Gradient<Source> p) {
  const int64_t n = blockIdx.x / p.chunks, v = blockIdx.x % p.chunks * (4 * kThreads) + 4 * threadIdx.x;
  if (v >= p.vocabulary) return;
  const int32_t target = p.targets[n * p.target_step];
  Four x = p.z.load(n, v, p.vocabulary);
  const Four other = p.kl ? p.ref_z.load(n, v, p.vocabulary) : Four{{0, 0, 0, 0}};
  const pg::RowCoefs<float> c = p.coefs[n];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float g = 0;
    if (target != pg::kIgnored) {
      if (v + i == target) g = -c.coef;
      if (x.v[i] != -INFINITY) {
        const float log_p = (x.v[i] - p.p.most[n]) - p.p.log_sum[n];
        float factor = c.coef + c.entropy * (log_p + p.p.entropy[n]);
        if (p.kl) factor += c.kl * (log_p - ((other.v[i] - p.q.most[n]) - p.q.log_sum[n]) - p.kl[n]);
        g += expf(log_p) * factor;
      }
    }
    x.v[i] = g / p.temperature;
  }
  p.z.store(n, v, p.vocabulary, x);
}

constexpr int64_t kMostLogitBytes = 500'000'000;  // of z that a chunk keeps
constexpr int64_t kMostRows = 4096;  // of a chunk: float32 adds up no more of them to d_weight at a time

class Call {
 public:
  Call(const LinearPolicyGradientArgs& a, Run& r) : a_(a), run_(r), stream_(stream_of(r)) {
    N_ = a.hidden.shape[0], V_ = a.weight.shape[0];
    gradients_ = a.d_hidden || a.d_weight || a.d_bias;
    exact_ = bool(a.ref_hidden), sequence_ = a.importance != ImportanceLevel::kToken;
    large_ = N_ * V_ >= int64_t{1} << 20;
    // Sums over rows of a bfloat16 gradient are no float32 d_bias.
    wide_ = r.math == Math::kBf16 && stream_.hopper() && large_ && a.hidden.shape[1] > 0 && !a.d_bias;
    tiles_ = blocks(V_, wide_ ? kWideVocabulary : large_ ? LargeBlock::kColumns : SmallBlock::kColumns);
    step_ = (V_ + 7) / 8 * 8;
    keep_ = gradients_ || exact_;
    const int64_t fit = keep_ ? kMostLogitBytes / (step_ * (wide_ ? 2 : 4) * (exact_ ? 2 : 1)) : kMostRows;
    // Whole thousands keep every multiprocessor busy in the products of the gradients.
    chunk_ =
        std::min({N_, kMostRows, std::max<int64_t>(fit >= 1024 ? fit / 1024 * 1024 : fit / 128 * 128, 128)});
  }

  void run() {
    if (N_ == 0) return;
    const int64_t held = sequence_ ? N_ : chunk_;  // rows whose scalars are kept
    p_ = row_stats(held), q_ = exact_ ? row_stats(chunk_) : RowStats{};
    kl_ = exact_ ? device_scratch<float>(run_, held) : nullptr;
    coefs_ = device_scratch<pg::RowCoefs<float>>(run_, held);
    z_ = chunk_logits(keep_, a_.weight), ref_z_ = chunk_logits(exact_, a_.ref_weight);
    // A sequence's ratio needs the log-probabilities of all its rows: a pass of its own.
    if (sequence_) {
      for (int64_t n = 0; n < N_; n += chunk_)
        forward(n, std::min(chunk_, N_ - n), n, /*keep=*/exact_);
      coefficients(0, a_.offsets.shape[0] - 1, 0);
    }
    if (sequence_ && !gradients_) return;
    for (int64_t n = 0; n < N_; n += chunk_) {
      const int64_t rows = std::min(chunk_, N_ - n), at = sequence_ ? n : 0;
      forward(n, rows, at, keep_);
      if (!sequence_) coefficients(n, rows, at);
      if (gradients_) backward(n, rows, at);
      report_op_progress(run_, n + rows, N_);
    }
  }

 private:
  RowStats row_stats(int64_t rows) {
    return {device_scratch<float>(run_, rows), device_scratch<float>(run_, rows),
            device_scratch<float>(run_, rows), device_scratch<float>(run_, rows)};
  }
  // Of the policy or the reference, for the rows of a chunk.
  struct ChunkLogits {
    char* z;  // (chunk, step): float32, or float16; null: not kept
    Stats* stats;
    PackedRows weight;  // wide
  };
  ChunkLogits chunk_logits(bool keep, const View& weight) {
    ChunkLogits c{};
    if (keep) c.z = device_scratch<char>(run_, chunk_ * step_ * (wide_ ? 2 : 4));
    if (weight) c.stats = device_scratch<Stats>(run_, chunk_ * tiles_);
    if (weight && wide_) c.weight = pack_rows(operand_of(weight), V_, weight.shape[1], run_);
    return c;
  }
  template <class Source>
  Source source(const ChunkLogits& c) const {
    if constexpr (std::is_same_v<Source, TileLogits>)
      return {reinterpret_cast<uint16_t*>(c.z), step_, c.stats, tiles_};
    else
      return {{reinterpret_cast<float*>(c.z), step_, true}};
  }
  static RowStats from(const RowStats& s, int64_t at) {
    return {s.most + at, s.log_sum + at, s.entropy + at, s.logp + at};
  }

  // Rows n … n + rows − 1, whose scalars are kept from place `at` on.
  void forward(int64_t n, int64_t rows, int64_t at, bool keep) {
    checkpoint(run_);
    Scratch scratch(run_);
    const auto output = [&](const View& v) { return v ? v.as<float>() + n : nullptr; };
    const RowOutputs outputs{output(a_.entropy), output(a_.max_prob), output(a_.lse), output(a_.logps),
                             a_.argmax ? a_.argmax.as<int32_t>() + n : nullptr};
    softmax(a_.hidden, a_.weight, a_.bias, n, rows, z_, keep, from(p_, at), outputs);
    if (!exact_) return;
    softmax(a_.ref_hidden, a_.ref_weight, a_.ref_bias, n, rows, ref_z_, true, q_, RowOutputs{});
    wide_ ? exact_kl<TileLogits>(rows, at) : exact_kl<FloatLogits>(rows, at);
  }
  template <class Source>
  void exact_kl(int64_t rows, int64_t at) {
    launch("linear_policy_gradient", exact_kl_kernel<Source>, dim3(unsigned(rows)), kThreads,
           int(kThreads / kWarp * sizeof(float)), stream_, source<Source>(z_), source<Source>(ref_z_), V_,
           from(p_, at), q_, kl_ + at);
  }

  void softmax(const View& hidden, const View& weight, const View& bias, int64_t n, int64_t rows,
               const ChunkLogits& c, bool keep, const RowStats& stats, const RowOutputs& outputs) {
    const int32_t* targets = a_.targets.as<const int32_t>() + n * a_.targets.stride[0];
    const int64_t target_step = a_.targets.stride[0], bias_step = bias ? bias.stride[0] : 0,
                  depth = hidden.shape[1];
    float* target_z = device_scratch<float>(run_, rows);
    const Operand h = operand_of(hidden.slice(0, n, rows));
    if (wide_) {
      const PackedRows packed = pack_rows(h, rows, depth, run_);
      wide_logits(packed, c.weight, depth,
                  {int(rows), int(V_), bias.as<const float>(), bias_step, float(1 / a_.temperature), targets,
                   target_step, keep ? reinterpret_cast<uint16_t*>(c.z) : nullptr, step_, target_z, c.stats,
                   int(tiles_)},
                  stream_);
    } else {
      Logits l{};
      l.hidden = h, l.weight = operand_of(weight);
      l.rows = rows, l.vocabulary = V_, l.depth = depth;
      l.bias = bias.as<const float>(), l.bias_step = bias_step, l.temperature = float(a_.temperature);
      l.targets = targets, l.target_step = target_step;
      l.z = keep ? reinterpret_cast<float*>(c.z) : nullptr, l.z_step = step_, l.target_z = target_z,
      l.stats = c.stats, l.tiles = tiles_;
      with_math(run_.math, [&](auto tag) {
        large_ ? logits<tag.math, LargeBlock>(l) : logits<tag.math, SmallBlock>(l);
      });
    }
    launch("linear_policy_gradient", softmax_kernel, dim3(blocks(rows, kThreads / kWarp)), kThreads, 0,
           stream_, static_cast<const Stats*>(c.stats), tiles_, static_cast<const float*>(target_z), targets,
           target_step, rows, stats, outputs);
  }
  template <Math math, class Shape>
  void logits(const Logits& l) {
    const dim3 grid(blocks(l.rows, Shape::kRows), unsigned(tiles_));
    launch("linear_policy_gradient", logits_kernel<math, Shape>, grid, Shape::kThreads, Shape::kSharedBytes,
           stream_, l);
  }

  void coefficients(int64_t n, int64_t count, int64_t at) {
    launch("linear_policy_gradient", rows_kernel, dim3(blocks(count, kThreads)), kThreads, 0, stream_, a_, n,
           count, static_cast<const float*>(p_.logp + at), static_cast<const float*>(p_.entropy + at),
           static_cast<const float*>(kl_ ? kl_ + at : nullptr), coefs_ + at);
  }

  template <class Source>
  void gradient(int64_t n, int64_t rows, int64_t at) {
    const int64_t pieces = blocks(V_, 4 * kThreads);
    Gradient<Source> g{};
    g.z = source<Source>(z_), g.ref_z = source<Source>(ref_z_);
    g.p = from(p_, at), g.q = q_, g.kl = kl_ ? kl_ + at : nullptr, g.coefs = coefs_ + at;
    g.targets = a_.targets.as<const int32_t>() + n * a_.targets.stride[0],
    g.target_step = a_.targets.stride[0];
    g.vocabulary = V_, g.chunks = pieces, g.temperature = float(a_.temperature);
    launch("linear_policy_gradient", gradient_kernel<Source>, dim3(unsigned(rows * pieces)), kThreads, 0,
           stream_, g);
  }

  void backward(int64_t n, int64_t rows, int64_t at) {
    Scratch scratch(run_);
    wide_ ? gradient<TileLogits>(n, rows, at) : gradient<FloatLogits>(n, rows, at);
    const View d_z = make_view(z_.z, wide_ ? DType::kBF16 : DType::kF32, rows, step_).slice(1, 0, V_);
    const View weight = wide_ ? packed_view(z_.weight, V_, a_.weight.shape[1]) : a_.weight;
    if (a_.d_hidden) {
      GemmArgs gemm;
      gemm.a = d_z, gemm.b = weight, gemm.c = a_.d_hidden.slice(0, n, rows);
      hf::cuda::run(gemm, run_);
    }
    if (a_.d_weight) {
      GemmArgs gemm;
      gemm.a = d_z.transposed(), gemm.b = a_.hidden.slice(0, n, rows), gemm.c = a_.d_weight,
      gemm.accumulate = true;
      hf::cuda::run(gemm, run_);
    }
    if (a_.d_bias) {
      ReduceArgs reduce;
      reduce.x = d_z, reduce.y = a_.d_bias, reduce.accumulate = true;
      hf::cuda::run(reduce, run_);
    }
  }

  const LinearPolicyGradientArgs& a_;
  Run& run_;
  Stream& stream_;
  int64_t N_, V_, tiles_, step_, chunk_;
  bool gradients_, exact_, sequence_, large_, wide_, keep_;
  RowStats p_{}, q_{};
  float* kl_ = nullptr;
  ChunkLogits z_{}, ref_z_{};
  pg::RowCoefs<float>* coefs_ = nullptr;
};

// Numbers that the caller gave are checked before anything runs; those that are on the device already are the
// engine's own.
void check_host_values(LinearPolicyGradientArgs a, const Stream& stream) {
  for (View* view : {&a.bias, &a.ref_bias, &a.coefficients, &a.entropy_coefficients, &a.advantages,
                     &a.old_logps, &a.ref_logps, &a.weights})
    if (view->data && stream.owns(view->data)) *view = View{};
  check_values(a);
}

}  // namespace

void run(const LinearPolicyGradientArgs& args, Run& r) {
  check_host_values(args, stream_of(r));
  on_device(args, r, [&](const LinearPolicyGradientArgs& a, Stream&) { Call(a, r).run(); });
}

}  // namespace hf::cuda
