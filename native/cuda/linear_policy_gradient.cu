// The classifier with its softmax, loss and gradients. Rows come in chunks; per chunk:
//   logits_kernel   z = (h Wᵀ + bias) / τ by tiles of the vocabulary, with every row's maximum, Σ e^(z−m), Σ e^(z−m)(z−m) and argmax over the tile from the
//                   accumulators. A block owns 128 × 128 of z (8 warps of 64 × 32, 108 KiB of shared memory; 64 × 64 when there is little). Without
//                   gradients z is not written: forward-only calls hold the tiles' statistics alone.
//   softmax_kernel  a warp a row: tiles together, log-probability, entropy
//   rows_kernel     a thread a row (or sequence): kernels/detail/pg_coef.h, as on the CPU
//   gradient_kernel z becomes dL/dz in place; then gemm gives d_hidden and adds to d_weight.
// Never materialised: [N, V]. A chunk's z is at most 512 MB. Compute bound: 2NVC + 2NVC for each gradient; the epilogues read and write 4 bytes a logit
// three times, about a tenth of the products' time at C 4096.
#include <algorithm>

#include "cuda/gram.h"
#include "cuda/rows.h"
#include "kernels/detail/pg_coef.h"

namespace hf::cuda {
namespace {

// Of one row, over some of the vocabulary: m, S = Σ e^(z−m), E = Σ e^(z−m)(z−m), and the lowest id of the maximum.
struct Stats {
  float most, sum, moment;
  int32_t argmax;
};
HF_DEVICE Stats nothing() { return {-INFINITY, 0, 0, INT32_MAX}; }

// −∞ logits have p = 0 and add nothing, so a part without finite logits changes nothing.
HF_DEVICE Stats merge(const Stats& a, const Stats& b) {
  if (b.most == -INFINITY) return a.most == -INFINITY ? Stats{a.most, 0, 0, a.argmax < b.argmax ? a.argmax : b.argmax} : a;
  if (a.most == -INFINITY) return b;
  const float most = fmaxf(a.most, b.most), da = a.most - most, db = b.most - most, ea = expf(da), eb = expf(db);
  Stats out;
  out.most = most;
  out.sum = a.sum * ea + b.sum * eb;
  out.moment = ea * (a.moment + da * a.sum) + eb * (b.moment + db * b.sum);
  out.argmax = a.most > b.most ? a.argmax : b.most > a.most ? b.argmax : (a.argmax < b.argmax ? a.argmax : b.argmax);
  return out;
}
HF_DEVICE Stats shuffle_stats(const Stats& s, int flip) {
  return {__shfl_xor_sync(kAllLanes, s.most, flip), __shfl_xor_sync(kAllLanes, s.sum, flip), __shfl_xor_sync(kAllLanes, s.moment, flip),
          __shfl_xor_sync(kAllLanes, s.argmax, flip)};
}

struct Logits {
  Operand hidden, weight;
  int64_t rows, vocabulary, depth;
  const float* bias;
  int64_t bias_step;
  float temperature;
  const int32_t* targets;
  int64_t target_step;
  float* z;          // (rows, z_step) or null
  int64_t z_step;
  float* target_z;   // (rows)
  Stats* stats;      // (rows, tiles)
  int64_t tiles;
};

template <Math math, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) logits_kernel(Logits p) {
  const int64_t row0 = int64_t(blockIdx.x) * Shape::kRows, column0 = int64_t(blockIdx.y) * Shape::kColumns;
  SharedMemory memory;
  const Shared<uint32_t> stages = memory.take<uint32_t>(Shape::kStages * Shape::kStageWords);
  const Shared<float> most = cast<float>(stages), sums = most + Shape::kRows * Shape::kWarpColumns, moments = sums + Shape::kRows * Shape::kWarpColumns;
  const Shared<int32_t> argmaxes = cast<int32_t>(moments + Shape::kRows * Shape::kWarpColumns);
  float acc[Shape::kMT][Shape::kNT][4];
  clear(acc);
  block_product<math, Shape>(acc, stages, p.hidden, row0, p.rows, p.weight, column0, p.vocabulary, 0, p.depth);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp_column = int(threadIdx.x) / kWarp % Shape::kWarpColumns;
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
    softmax_kernel(const Stats* stats, int64_t tiles, const float* target_z, const int32_t* targets, int64_t target_step, int64_t rows, RowStats out, RowOutputs o) {
  const int64_t n = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (n >= rows) return;
  Stats s = nothing();
  for (int64_t i = threadIdx.x % kWarp; i < tiles; i += kWarp) s = merge(s, stats[n * tiles + i]);
#pragma unroll
  for (int flip = 1; flip < kWarp; flip *= 2) s = merge(s, shuffle_stats(s, flip));
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

// kl[n] = Σ_v p (log p − log q), a block a row.
HF_KERNEL __launch_bounds__(kThreads)
    exact_kl_kernel(const float* z, const float* ref_z, int64_t z_step, int64_t vocabulary, RowStats p, RowStats q, float* kl) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads / kWarp);
  const int64_t n = blockIdx.x;
  float sum = 0;
  for (int64_t v = threadIdx.x; v < vocabulary; v += kThreads) {
    const float x = z[n * z_step + v];
    if (x == -INFINITY) continue;
    const float log_p = (x - p.most[n]) - p.log_sum[n], log_q = (ref_z[n * z_step + v] - q.most[n]) - q.log_sum[n];
    sum += expf(log_p) * (log_p - log_q);
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) kl[n] = sum;
}

// Loss and coefficients of rows begin … end − 1: a thread a row, or a sequence (offsets from `first` on).
HF_KERNEL __launch_bounds__(kThreads)
    rows_kernel(LinearPolicyGradientArgs a, int64_t begin, int64_t count, const float* logp, const float* entropy, const float* kl, pg::RowCoefs<float>* coefs) {
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
struct Gradient {
  Rows z, ref_z;
  RowStats p, q;
  const float* kl;
  const pg::RowCoefs<float>* coefs;
  const int32_t* targets;
  int64_t target_step, vocabulary, chunks;
  float temperature;
};
HF_KERNEL __launch_bounds__(kThreads) gradient_kernel(Gradient p) {
  const int64_t n = blockIdx.x / p.chunks, v = blockIdx.x % p.chunks * (4 * kThreads) + 4 * threadIdx.x;
  if (v >= p.vocabulary) return;
  const int32_t target = p.targets[n * p.target_step];
  Four x = p.z.load(n, v, p.vocabulary);
  const Four other = p.ref_z.data ? p.ref_z.load(n, v, p.vocabulary) : Four{{0, 0, 0, 0}};
  const pg::RowCoefs<float> c = p.coefs[n];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float g = 0;
    if (target != pg::kIgnored) {
      if (v + i == target) g = -c.coef;
      if (x.v[i] != -INFINITY) {
        const float log_p = (x.v[i] - p.p.most[n]) - p.p.log_sum[n];
        float factor = c.coef + c.entropy * (log_p + p.p.entropy[n]);
        if (p.ref_z.data) factor += c.kl * (log_p - ((other.v[i] - p.q.most[n]) - p.q.log_sum[n]) - p.kl[n]);
        g += expf(log_p) * factor;
      }
    }
    x.v[i] = g / p.temperature;
  }
  p.z.store(n, v, p.vocabulary, x);
}

constexpr int64_t kMostLogits = int64_t{128} << 20;   // float32s of z that a chunk keeps: 512 MB
constexpr int64_t kForwardRows = 4096;

class Call {
 public:
  Call(const LinearPolicyGradientArgs& a, Run& r) : a_(a), run_(r), stream_(stream_of(r)) {
    N_ = a.hidden.shape[0], V_ = a.weight.shape[0];
    gradients_ = a.d_hidden || a.d_weight || a.d_bias;
    exact_ = bool(a.ref_hidden), sequence_ = a.importance != ImportanceLevel::kToken;
    large_ = N_ * V_ >= int64_t{1} << 20;
    tiles_ = blocks(V_, large_ ? LargeBlock::kColumns : SmallBlock::kColumns);
    step_ = (V_ + 3) / 4 * 4;
    keep_ = gradients_ || exact_;
    const int64_t fit = keep_ ? kMostLogits / (step_ * (exact_ ? 2 : 1)) / 128 * 128 : kForwardRows;
    chunk_ = std::min(N_, std::max<int64_t>(fit, 128));
  }

  void run() {
    if (N_ == 0) return;
    const int64_t held = sequence_ ? N_ : chunk_;  // rows whose scalars are kept
    p_ = row_stats(held), q_ = exact_ ? row_stats(chunk_) : RowStats{};
    kl_ = exact_ ? device_scratch<float>(run_, held) : nullptr;
    coefs_ = device_scratch<pg::RowCoefs<float>>(run_, held);
    if (keep_) z_ = device_scratch<float>(run_, chunk_ * step_);
    if (exact_) ref_z_ = device_scratch<float>(run_, chunk_ * step_);
    // A sequence's ratio needs the log-probabilities of all its rows: a pass of its own.
    if (sequence_) {
      for (int64_t n = 0; n < N_; n += chunk_) forward(n, std::min(chunk_, N_ - n), n, /*keep=*/exact_);
      coefficients(0, a_.offsets.shape[0] - 1, 0);
    }
    if (sequence_ && !gradients_) return;
    for (int64_t n = 0; n < N_; n += chunk_) {
      const int64_t rows = std::min(chunk_, N_ - n), at = sequence_ ? n : 0;
      forward(n, rows, at, keep_);
      if (!sequence_) coefficients(n, rows, at);
      if (gradients_) backward(n, rows, at);
      report_progress(run_, n + rows, N_);
    }
  }

 private:
  RowStats row_stats(int64_t rows) {
    return {device_scratch<float>(run_, rows), device_scratch<float>(run_, rows), device_scratch<float>(run_, rows), device_scratch<float>(run_, rows)};
  }
  static RowStats from(const RowStats& s, int64_t at) { return {s.most + at, s.log_sum + at, s.entropy + at, s.logp + at}; }

  // Rows n … n + rows − 1, whose scalars are kept from place `at` on.
  void forward(int64_t n, int64_t rows, int64_t at, bool keep) {
    checkpoint(run_);
    Scratch scratch(run_);
    const auto output = [&](const View& v) { return v ? v.as<float>() + n : nullptr; };
    const RowOutputs outputs{output(a_.entropy), output(a_.max_prob), output(a_.lse), output(a_.logps), a_.argmax ? a_.argmax.as<int32_t>() + n : nullptr};
    softmax(a_.hidden, a_.weight, a_.bias, n, rows, keep ? z_ : nullptr, from(p_, at), outputs);
    if (!exact_) return;
    softmax(a_.ref_hidden, a_.ref_weight, a_.ref_bias, n, rows, ref_z_, q_, RowOutputs{});
    launch("linear_policy_gradient", exact_kl_kernel, dim3(unsigned(rows)), kThreads, int(kThreads / kWarp * sizeof(float)), stream_,
           static_cast<const float*>(z_), static_cast<const float*>(ref_z_), step_, V_, from(p_, at), q_, kl_ + at);
  }

  void softmax(const View& hidden, const View& weight, const View& bias, int64_t n, int64_t rows, float* z, const RowStats& stats, const RowOutputs& outputs) {
    Logits l{};
    l.hidden = operand_of(hidden.slice(0, n, rows)), l.weight = operand_of(weight);
    l.rows = rows, l.vocabulary = V_, l.depth = hidden.shape[1];
    l.bias = bias.as<const float>(), l.bias_step = bias ? bias.stride[0] : 0, l.temperature = float(a_.temperature);
    l.targets = a_.targets.as<const int32_t>() + n * a_.targets.stride[0], l.target_step = a_.targets.stride[0];
    l.z = z, l.z_step = step_, l.target_z = device_scratch<float>(run_, rows), l.stats = device_scratch<Stats>(run_, rows * tiles_), l.tiles = tiles_;
    with_math(run_.math, [&](auto tag) { large_ ? logits<tag.math, LargeBlock>(l) : logits<tag.math, SmallBlock>(l); });
    launch("linear_policy_gradient", softmax_kernel, dim3(blocks(rows, kThreads / kWarp)), kThreads, 0, stream_, static_cast<const Stats*>(l.stats), tiles_,
           static_cast<const float*>(l.target_z), l.targets, l.target_step, rows, stats, outputs);
  }
  template <Math math, class Shape>
  void logits(const Logits& l) {
    const dim3 grid(blocks(l.rows, Shape::kRows), unsigned(tiles_));
    launch("linear_policy_gradient", logits_kernel<math, Shape>, grid, Shape::kThreads, Shape::kSharedBytes, stream_, l);
  }

  void coefficients(int64_t n, int64_t count, int64_t at) {
    launch("linear_policy_gradient", rows_kernel, dim3(blocks(count, kThreads)), kThreads, 0, stream_, a_, n, count, static_cast<const float*>(p_.logp + at),
           static_cast<const float*>(p_.entropy + at), static_cast<const float*>(kl_ ? kl_ + at : nullptr), coefs_ + at);
  }

  void backward(int64_t n, int64_t rows, int64_t at) {
    Scratch scratch(run_);
    const int64_t pieces = blocks(V_, 4 * kThreads);
    Gradient g{};
    g.z = {z_, step_, true}, g.ref_z = {ref_z_, step_, true};
    g.p = from(p_, at), g.q = q_, g.kl = kl_ ? kl_ + at : nullptr, g.coefs = coefs_ + at;
    g.targets = a_.targets.as<const int32_t>() + n * a_.targets.stride[0], g.target_step = a_.targets.stride[0];
    g.vocabulary = V_, g.chunks = pieces, g.temperature = float(a_.temperature);
    launch("linear_policy_gradient", gradient_kernel, dim3(unsigned(rows * pieces)), kThreads, 0, stream_, g);
    const View d_z = make_view(z_, DType::kF32, rows, step_).slice(1, 0, V_);
    if (a_.d_hidden) {
      GemmArgs gemm;
      gemm.a = d_z, gemm.b = a_.weight, gemm.c = a_.d_hidden.slice(0, n, rows);
      hf::cuda::run(gemm, run_);
    }
    if (a_.d_weight) {
      GemmArgs gemm;
      gemm.a = d_z.transposed(), gemm.b = a_.hidden.slice(0, n, rows), gemm.c = a_.d_weight, gemm.accumulate = true;
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
  bool gradients_, exact_, sequence_, large_, keep_;
  RowStats p_{}, q_{};
  float *kl_ = nullptr, *z_ = nullptr, *ref_z_ = nullptr;
  pg::RowCoefs<float>* coefs_ = nullptr;
};

// Numbers that the caller gave are checked before anything runs; those that are on the device already are the engine's own.
void check_host_values(LinearPolicyGradientArgs a, const Stream& stream) {
  for (View* view : {&a.bias, &a.ref_bias, &a.coefficients, &a.entropy_coefficients, &a.advantages, &a.old_logps, &a.ref_logps, &a.weights})
    if (view->data && stream.owns(view->data)) *view = View{};
  check_values(a);
}

}  // namespace

void run(const LinearPolicyGradientArgs& args, Run& r) {
  check_host_values(args, stream_of(r));
  on_device(args, r, [&](const LinearPolicyGradientArgs& a, Stream&) { Call(a, r).run(); });
}

}  // namespace hf::cuda
