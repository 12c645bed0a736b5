// The classifier with its softmax, loss and gradients on CUDA. Rows come in chunks; for each of them
//   logits_kernel    z = (h Wᵀ + bias) / τ by tiles of the vocabulary, with every row's maximum, Σ e^(z−m),
//                    Σ e^(z−m) (z−m) and argmax over the tile from the accumulators. A block owns 128 × 128 of z (8
//                    warps of 64 × 32, 108 KiB of shared memory; 64 × 64 when there is little). Without gradients z
//                    is not written: forward-only calls hold the tiles' statistics alone.
//   softmax_kernel   a warp a row: tiles together, log-probability, entropy.
//   rows_kernel      a thread a row (or sequence): ops/loss/token_loss.h, as on the CPU.
//   gradient_kernel  z becomes dL/dz in place; then gemm gives d_hidden and adds to d_weight.
// In bf16 on Hopper large calls take wide_logits for the first of these: z is float16 below its tile's
// maximum, and its gradient bfloat16 in the same place.
//
// Never materialised: [N, V]. A chunk's z is at most 500 MB. Compute bound: 2NVC + 2NVC for each gradient;
// the epilogues read and write 4 bytes a logit (wide: 2) three times, about a tenth of the products' time at
// C 4096.
#include <algorithm>
#include <type_traits>

#include "ops/loss/cuda/logits_kernel.h"
#include "ops/loss/cuda/row_kernels.h"

namespace hf::cuda {
namespace {

constexpr const char* kOp = LinearPolicyGradientArgs::kName;
constexpr int64_t kMostLogitBytes = 500'000'000;  // of z that a chunk keeps
constexpr int64_t kMostRows = 4096;  // of a chunk: float32 adds up no more of them to d_weight at a time

// Rows [begin, begin + rows) of the call. Their scalars are kept from place `at` on.
struct Chunk {
  int64_t begin, rows, at;
};

class Call {
 public:
  Call(const LinearPolicyGradientArgs& a, Run& r)
      : a_(a),
        run_(r),
        stream_(stream_of(r)),
        N_(a.hidden.shape[0]),
        V_(a.weight.shape[0]),
        gradients_(a.d_hidden || a.d_weight || a.d_bias),
        exact_(bool(a.ref_hidden)),
        shared_ratio_(a.importance != ImportanceLevel::kToken),
        keep_(gradients_ || exact_),
        large_(N_ * V_ >= int64_t{1} << 20),
        // Sums over rows of a bfloat16 gradient are no float32 d_bias.
        wide_(r.math == Math::kBf16 && stream_.hopper() && large_ && a.hidden.shape[1] > 0 && !a.d_bias),
        tiles_(blocks(V_, wide_    ? kWideVocabulary
                          : large_ ? LargeBlock::kColumns
                                   : SmallBlock::kColumns)),
        step_((V_ + 7) / 8 * 8),
        chunk_(rows_of_chunk()) {}

  void run() {
    if (N_ == 0) return;
    allocate();
    if (shared_ratio_) {
      sequence_coefficients();
      if (!gradients_) return;
    }
    for (int64_t n = 0; n < N_; n += chunk_) {
      const Chunk chunk{n, std::min(chunk_, N_ - n), shared_ratio_ ? n : 0};
      forward(chunk, keep_);
      if (!shared_ratio_) coefficients(chunk.begin, chunk.rows, chunk.at);
      if (gradients_) backward(chunk);
      report_op_progress(run_, n + chunk.rows, N_);
    }
  }

 private:
  // Of the policy or the reference, for the rows of a chunk.
  struct ChunkLogits {
    char* z;  // (chunk, step): float32, or float16; null: not kept
    Stats* stats;
    PackedRows weight;  // wide
  };

  // ---- memory ---------------------------------------------------------------------------------------------

  int64_t logit_bytes() const { return wide_ ? 2 : 4; }

  int64_t rows_of_chunk() const {
    const int64_t row_bytes = std::max<int64_t>(step_ * logit_bytes() * (exact_ ? 2 : 1), 1);
    const int64_t fit = keep_ ? kMostLogitBytes / row_bytes : kMostRows;
    // Whole thousands keep every multiprocessor busy in the products of the gradients.
    const int64_t even = fit >= 1024 ? fit / 1024 * 1024 : fit / 128 * 128;
    return std::min({N_, kMostRows, std::max<int64_t>(even, 128)});
  }

  void allocate() {
    const int64_t held = shared_ratio_ ? N_ : chunk_;  // rows whose scalars are kept
    p_ = row_stats(held);
    if (exact_) q_ = row_stats(chunk_);
    if (exact_) kl_ = device_scratch<float>(run_, held);
    coefs_ = device_scratch<loss::RowCoefficients<float>>(run_, held);
    z_ = chunk_logits(keep_, a_.weight);
    ref_z_ = chunk_logits(exact_, a_.ref_weight);
  }
  RowStats row_stats(int64_t rows) {
    return {
        .most = device_scratch<float>(run_, rows),
        .log_sum = device_scratch<float>(run_, rows),
        .entropy = device_scratch<float>(run_, rows),
        .logp = device_scratch<float>(run_, rows),
    };
  }
  ChunkLogits chunk_logits(bool keep, const View& weight) {
    ChunkLogits c{};
    if (keep) c.z = device_scratch<char>(run_, chunk_ * step_ * logit_bytes());
    if (weight) c.stats = device_scratch<Stats>(run_, chunk_ * tiles_);
    if (weight && wide_) c.weight = pack_rows(operand_of(weight), V_, weight.shape[1], run_);
    return c;
  }

  // The logits as the row kernels read them.
  template <class Source>
  Source source(const ChunkLogits& c) const {
    if constexpr (std::is_same_v<Source, TileLogits>)
      return {reinterpret_cast<uint16_t*>(c.z), step_, c.stats, tiles_};
    else
      return {{reinterpret_cast<float*>(c.z), step_, true}};
  }
  RowStats policy_stats(int64_t at) const {
    return {p_.most + at, p_.log_sum + at, p_.entropy + at, p_.logp + at};
  }
  const int32_t* targets(int64_t n) const {
    return a_.targets.as<const int32_t>() + n * a_.targets.stride[0];
  }

  // ---- forward --------------------------------------------------------------------------------------------

  void forward(const Chunk& chunk, bool keep) {
    checkpoint(run_);
    Scratch scratch(run_);
    const auto output = [&](const View& v) { return v ? v.as<float>() + chunk.begin : nullptr; };
    const RowOutputs outputs{
        .entropy = output(a_.entropy),
        .max_prob = output(a_.max_prob),
        .lse = output(a_.lse),
        .logp = output(a_.logps),
        .argmax = a_.argmax ? a_.argmax.as<int32_t>() + chunk.begin : nullptr,
    };
    softmax(a_.hidden, a_.weight, a_.bias, chunk, z_, keep, policy_stats(chunk.at), outputs);
    if (!exact_) return;
    softmax(a_.ref_hidden, a_.ref_weight, a_.ref_bias, chunk, ref_z_, true, q_, RowOutputs{});
    wide_ ? exact_kl<TileLogits>(chunk) : exact_kl<FloatLogits>(chunk);
  }

  void softmax(const View& hidden, const View& weight, const View& bias, const Chunk& chunk,
               const ChunkLogits& c, bool keep, const RowStats& stats, const RowOutputs& outputs) {
    float* target_z = device_scratch<float>(run_, chunk.rows);
    const Operand h = operand_of(hidden.slice(0, chunk.begin, chunk.rows));
    if (wide_)
      wide_logits_of(h, hidden.shape[1], bias, chunk, c, keep, target_z);
    else
      logits_of(h, hidden.shape[1], weight, bias, chunk, c, keep, target_z);
    launch(kOp, softmax_kernel, dim3(blocks(chunk.rows, kThreads / kWarp)), kThreads, 0, stream_,
           static_cast<const Stats*>(c.stats), tiles_, static_cast<const float*>(target_z),
           targets(chunk.begin), a_.targets.stride[0], chunk.rows, stats, outputs);
  }

  void wide_logits_of(const Operand& hidden, int64_t depth, const View& bias, const Chunk& chunk,
                      const ChunkLogits& c, bool keep, float* target_z) {
    const PackedRows packed = pack_rows(hidden, chunk.rows, depth, run_);
    const WideLogits problem{
        .rows = int(chunk.rows),
        .vocabulary = int(V_),
        .bias = bias.as<const float>(),
        .bias_step = bias ? bias.stride[0] : 0,
        .inverse_temperature = float(1 / a_.temperature),
        .targets = targets(chunk.begin),
        .target_step = a_.targets.stride[0],
        .z = keep ? reinterpret_cast<uint16_t*>(c.z) : nullptr,
        .z_step = step_,
        .target_z = target_z,
        .stats = c.stats,
        .tiles = int(tiles_),
    };
    wide_logits(packed, c.weight, depth, problem, stream_);
  }

  void logits_of(const Operand& hidden, int64_t depth, const View& weight, const View& bias,
                 const Chunk& chunk, const ChunkLogits& c, bool keep, float* target_z) {
    const Logits problem{
        .hidden = hidden,
        .weight = operand_of(weight),
        .rows = chunk.rows,
        .vocabulary = V_,
        .depth = depth,
        .bias = bias.as<const float>(),
        .bias_step = bias ? bias.stride[0] : 0,
        .temperature = float(a_.temperature),
        .targets = targets(chunk.begin),
        .target_step = a_.targets.stride[0],
        .z = keep ? reinterpret_cast<float*>(c.z) : nullptr,
        .z_step = step_,
        .target_z = target_z,
        .stats = c.stats,
        .tiles = tiles_,
    };
    with_math(run_.math, [&](auto tag) {
      large_ ? launch_logits<tag.math, LargeBlock>(problem) : launch_logits<tag.math, SmallBlock>(problem);
    });
  }
  template <Math math, class Shape>
  void launch_logits(const Logits& problem) {
    const dim3 grid(blocks(problem.rows, Shape::kRows), unsigned(tiles_));
    launch(kOp, logits_kernel<math, Shape>, grid, Shape::kThreads, Shape::kSharedBytes, stream_, problem);
  }

  template <class Source>
  void exact_kl(const Chunk& chunk) {
    launch(kOp, exact_kl_kernel<Source>, dim3(unsigned(chunk.rows)), kThreads,
           int(kThreads / kWarp * sizeof(float)), stream_, source<Source>(z_), source<Source>(ref_z_), V_,
           policy_stats(chunk.at), q_, kl_ + chunk.at);
  }

  // ---- losses ---------------------------------------------------------------------------------------------

  // A ratio that tokens share needs the log-probabilities of all of them: a pass of its own.
  void sequence_coefficients() {
    for (int64_t n = 0; n < N_; n += chunk_)
      forward({n, std::min(chunk_, N_ - n), n}, /*keep=*/exact_);
    coefficients(0, a_.offsets.shape[0] - 1, 0);
  }

  // Of `count` rows from `begin` on, or of `count` sequences.
  void coefficients(int64_t begin, int64_t count, int64_t at) {
    launch(kOp, rows_kernel, dim3(blocks(count, kThreads)), kThreads, 0, stream_, a_, begin, count,
           static_cast<const float*>(p_.logp + at), static_cast<const float*>(p_.entropy + at),
           static_cast<const float*>(kl_ ? kl_ + at : nullptr), coefs_ + at);
  }

  // ---- gradients ------------------------------------------------------------------------------------------

  template <class Source>
  void logit_gradient(const Chunk& chunk) {
    const int64_t pieces = blocks(V_, 4 * kThreads);
    const Gradient<Source> problem{
        .z = source<Source>(z_),
        .ref_z = source<Source>(ref_z_),
        .p = policy_stats(chunk.at),
        .q = q_,
        .kl = kl_ ? kl_ + chunk.at : nullptr,
        .coefs = coefs_ + chunk.at,
        .targets = targets(chunk.begin),
        .target_step = a_.targets.stride[0],
        .vocabulary = V_,
        .chunks = pieces,
        .temperature = float(a_.temperature),
    };
    launch(kOp, gradient_kernel<Source>, dim3(unsigned(chunk.rows * pieces)), kThreads, 0, stream_, problem);
  }

  void backward(const Chunk& chunk) {
    Scratch scratch(run_);
    wide_ ? logit_gradient<TileLogits>(chunk) : logit_gradient<FloatLogits>(chunk);
    const View d_z = make_view(z_.z, wide_ ? DType::kBF16 : DType::kF32, chunk.rows, step_).slice(1, 0, V_);
    const View weight = wide_ ? packed_view(z_.weight, V_, a_.weight.shape[1]) : a_.weight;
    if (a_.d_hidden) {
      GemmArgs gemm;
      gemm.a = d_z;
      gemm.b = weight;
      gemm.c = a_.d_hidden.slice(0, chunk.begin, chunk.rows);
      hf::cuda::run(gemm, run_);
    }
    if (a_.d_weight) {
      GemmArgs gemm;
      gemm.a = d_z.transposed();
      gemm.b = a_.hidden.slice(0, chunk.begin, chunk.rows);
      gemm.c = a_.d_weight;
      gemm.accumulate = true;
      hf::cuda::run(gemm, run_);
    }
    if (a_.d_bias) {
      ReduceArgs reduce;
      reduce.x = d_z;
      reduce.y = a_.d_bias;
      reduce.accumulate = true;
      hf::cuda::run(reduce, run_);
    }
  }

  const LinearPolicyGradientArgs& a_;
  Run& run_;
  Stream& stream_;
  const int64_t N_, V_;
  const bool gradients_, exact_, shared_ratio_;
  const bool keep_;   // z is written
  const bool large_;  // worth large tiles
  const bool wide_;   // wide_logits takes the place of logits_kernel
  const int64_t tiles_;
  const int64_t step_;   // between the rows of z
  const int64_t chunk_;  // rows at a time
  RowStats p_{}, q_{};   // of the policy and of the reference
  float* kl_ = nullptr;
  ChunkLogits z_{}, ref_z_{};
  loss::RowCoefficients<float>* coefs_ = nullptr;
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
