// The fused policy gradient on the CPU. For every chunk of rows (ops/loss/row_chunks.h):
//   1. logits, tile by tile of the vocabulary, and while a tile is in the cache its maximum, Σ e^(z−m) and
//      Σ e^(z−m) (z−m) for every row, merged in tile order. What stays in the buffer is e^(z−m_tile) where the
//      gradient needs no more than that, else z.
//   2. for every row: logp, entropy, exact KL, and the coefficients (ops/loss/token_loss.h).
//   3. tile by tile: the gradient of the logits in place of them, and from it d_bias, d_hidden and d_weight.
// Ratios that tokens share need the logp of every row before the first coefficient: then 1 and 2 run over all
// rows first. Sums over a row are float32 in vector lanes within a tile, float64 across tiles. Threads share
// the matrix products, and the rows of each tile.
#include "backends/cpu/isa.h"
#include "ops/loss/cpu/softmax_rows.h"
#include "ops/loss/row_chunks.h"
#include "ops/loss/token_loss.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kRowBlock = 8;  // rows of one task

using Coefficients = loss::RowCoefficients<float>;

// Rows [begin, begin + count) of the call. Their scalars (logp, entropy, kl, coefs) lie from `at` on.
struct Chunk {
  int64_t begin, count, at;
};

struct Call {
  const LinearPolicyGradientArgs& a;
  Run& r;
  const loss::RowChunks chunks;
  const int64_t N, V;
  const float inverse_temperature;
  const bool shared_ratio;
  const bool keep_exponentials;  // the buffer holds e^(z − m_tile) after step 1

  // Of a chunk. Logits are tiles of (rows, stride), then those of the reference.
  float* logits = nullptr;
  float* ref_logits = nullptr;
  float* tile_max = nullptr;      // (tiles, rows): what was subtracted before exponentiating
  float* target_logit = nullptr;  // (rows)
  RowStats* stats = nullptr;      // (rows)
  RowStats* ref_stats = nullptr;
  // (V), over temperature.
  float* bias = nullptr;
  float* ref_bias = nullptr;
  // Scalars of a chunk's rows, or of all rows where tokens share a ratio.
  float* logp = nullptr;
  float* entropy = nullptr;
  float* kl = nullptr;
  Coefficients* coefs = nullptr;

  HF_INLINE Call(const LinearPolicyGradientArgs& args, Run& run)
      : a(args),
        r(run),
        chunks(args),
        N(args.hidden.shape[0]),
        V(args.weight.shape[0]),
        inverse_temperature(static_cast<float>(1 / args.temperature)),
        shared_ratio(args.importance != ImportanceLevel::kToken),
        keep_exponentials(chunks.gradients && !chunks.exact && !args.entropy_coefficients &&
                          args.entropy_coef == 0) {}

  // ---- buffers --------------------------------------------------------------------------------------------

  float* scaled_bias(Scratch& scratch, const View& given) {
    if (!given) return nullptr;
    float* out = scratch.allocate<float>(V);
    for (int64_t v = 0; v < V; ++v)
      out[v] = given.as<const float>()[v * given.stride[0]] * inverse_temperature;
    return out;
  }

  void allocate(Scratch& scratch) {
    const int64_t rows = chunks.held_rows();
    logits = scratch.allocate<float>(chunks.floats());
    if (chunks.exact) ref_logits = logits + chunks.tiles * rows * chunks.stride;
    tile_max = scratch.allocate<float>(chunks.tiles * rows);
    bias = scaled_bias(scratch, a.bias);
    ref_bias = scaled_bias(scratch, a.ref_bias);
    target_logit = scratch.allocate<float>(rows);
    stats = scratch.allocate<RowStats>(rows);
    if (chunks.exact) ref_stats = scratch.allocate<RowStats>(rows);
    const int64_t scalars = shared_ratio ? N : rows;
    logp = scratch.allocate<float>(scalars);
    entropy = scratch.allocate<float>(scalars);
    kl = scratch.allocate<float>(scalars);
    coefs = scratch.allocate<Coefficients>(scalars);
  }

  HF_INLINE int64_t target(int64_t n) const { return a.targets.as<const int32_t>()[n * a.targets.stride[0]]; }
  HF_INLINE int64_t columns(int64_t t) const {
    return t + 1 < chunks.tiles ? chunks.tile : V - t * chunks.tile;
  }
  HF_INLINE float* tile_of(float* base, int64_t t) const {
    return base + (chunks.keep ? t * chunks.rows * chunks.stride : 0);
  }
  // Row i of tile t.
  HF_INLINE float* row_of(float* base, int64_t t, int64_t i) const {
    return tile_of(base, t) + i * chunks.stride;
  }
  HF_INLINE View tile_view(float* data, int64_t count, int64_t t) const {
    View v = make_view(data, DType::kF32, count, columns(t));
    v.stride[0] = chunks.stride;
    return v;
  }
  // The rows of the weight, or of its gradient, that tile t is about.
  HF_INLINE View tile_rows(const View& matrix, int64_t t) const {
    return matrix.slice(0, t * chunks.tile, columns(t));
  }

  // body(i) for the rows of a chunk, shared among threads.
  template <class Body>
  HF_INLINE void each_row(int64_t count, const Body& body) {
    parallel_for(r, (count + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
      const int64_t end = (block + 1) * kRowBlock < count ? (block + 1) * kRowBlock : count;
      for (int64_t i = block * kRowBlock; i < end; ++i)
        body(i);
    });
  }

  // ---- step 1: logits and their statistics ----------------------------------------------------------------

  void tile_logits(const View& hidden, const View& weight, const float* tile_bias, const Chunk& chunk,
                   int64_t t, float* out) {
    GemmArgs g;
    g.a = hidden.slice(0, chunk.begin, chunk.count);
    g.b = tile_rows(weight, t).transposed();
    g.c = tile_view(out, chunk.count, t);
    if (tile_bias)
      g.bias = make_view(const_cast<float*>(tile_bias) + t * chunks.tile, DType::kF32, columns(t));
    g.alpha = inverse_temperature;
    HF_ISA::run(g, r);
  }

  void forward(const Chunk& chunk) {
    for (int64_t i = 0; i < chunk.count; ++i) {
      stats[i].clear();
      target_logit[i] = 0;
    }
    for (int64_t t = 0; t < chunks.tiles; ++t) {
      checkpoint(r);
      float* z = tile_of(logits, t);
      tile_logits(a.hidden, a.weight, bias, chunk, t, z);
      each_row(chunk.count, [&](int64_t i) { policy_row(z + i * chunks.stride, chunk, t, i); });
    }
    if (!chunks.exact) return;
    for (int64_t i = 0; i < chunk.count; ++i)
      ref_stats[i].clear();
    for (int64_t t = 0; t < chunks.tiles; ++t) {
      checkpoint(r);
      float* z = tile_of(ref_logits, t);
      tile_logits(a.ref_hidden, a.ref_weight, ref_bias, chunk, t, z);
      each_row(chunk.count, [&](int64_t i) { reference_row(z + i * chunks.stride, t, i); });
    }
  }

  // The statistics of row i in tile t, whose logits are z.
  HF_INLINE void policy_row(float* z, const Chunk& chunk, int64_t t, int64_t i) {
    const int64_t width = columns(t), first = t * chunks.tile;
    RowStats& s = stats[i];
    const float top = row_max(z, width);
    const float shift = finite_shift(top);
    const int64_t y = target(chunk.begin + i) - first;
    if (y >= 0 && y < width) target_logit[i] = z[y];
    if (a.argmax && top > s.max) s.argmax = static_cast<int32_t>(first + first_equal(z, width, top));
    tile_max[t * chunk.count + i] = shift;
    const RowSums sums =
        keep_exponentials ? row_sums<true>(z, width, shift) : row_sums<false>(z, width, shift);
    s.merge(shift, sums.sum, sums.moment);
  }
  HF_INLINE void reference_row(float* z, int64_t t, int64_t i) {
    const float shift = finite_shift(row_max(z, columns(t)));
    const RowSums sums = row_sums<false>(z, columns(t), shift);
    ref_stats[i].merge(shift, sums.sum, sums.moment);
  }
  // What is subtracted before exponentiating; a tile may be masked altogether.
  HF_INLINE static float finite_shift(float top) { return top == -kInfinity ? 0 : top; }

  // ---- step 2: what is known of each row ------------------------------------------------------------------

  void finish_rows(const Chunk& chunk) {
    each_row(chunk.count, [&](int64_t i) {
      const RowStats& s = stats[i];
      const int64_t n = chunk.begin + i, at = chunk.at + i;
      const double log_s = ::log(s.sum);
      const float target_logp = static_cast<float>((static_cast<double>(target_logit[i]) - s.max) - log_s);
      logp[at] = loss::ignored(a, n) ? 0 : target_logp;
      entropy[at] = static_cast<float>(log_s - s.moment / s.sum);
      kl[at] = chunks.exact ? row_kl(i) : 0;
      loss::put<float>(a.logps, n, logp[at]);
      loss::put<float>(a.entropy, n, entropy[at]);
      loss::put<float>(a.max_prob, n, 1 / s.sum);
      loss::put<int32_t>(a.argmax, n, s.argmax);
      loss::put<float>(a.lse, n, s.max + log_s);
    });
  }

  // Σ p (log p − log q), float64 across tiles.
  float row_kl(int64_t i) const {
    const LogSoftmax p(stats[i]), q(ref_stats[i]);
    double total = 0;
    for (int64_t t = 0; t < chunks.tiles; ++t)
      total += tile_kl(row_of(logits, t, i), p, row_of(ref_logits, t, i), q, columns(t));
    return static_cast<float>(total);
  }

  void row_coefficients(int64_t begin, int64_t end, int64_t at) {
    loss::rows(a, begin, end, logp + at, entropy + at, kl + at, coefs + at);
  }

  // Steps 1 and 2 of all rows, where those of a sequence share a ratio.
  void sequence_coefficients(int64_t rows) {
    for (int64_t begin = 0; begin < N; begin += rows) {
      const Chunk chunk{begin, begin + rows < N ? rows : N - begin, begin};
      forward(chunk);
      finish_rows(chunk);
    }
    const auto offset = [&](int64_t s) { return a.offsets.as<const int32_t>()[s * a.offsets.stride[0]]; };
    for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s)
      row_coefficients(offset(s), offset(s + 1), offset(s));
  }

  // ---- step 3: gradients ----------------------------------------------------------------------------------

  void backward(const Chunk& chunk) {
    for (int64_t t = 0; t < chunks.tiles; ++t) {
      checkpoint(r);
      each_row(chunk.count, [&](int64_t i) { logit_gradient(chunk, t, i); });
      float* tile = tile_of(logits, t);
      const View g = tile_view(tile, chunk.count, t);
      if (a.d_bias) add_columns(tile, chunk.count, t);
      if (a.d_hidden) {
        GemmArgs d;
        d.a = g;
        d.b = tile_rows(a.weight, t);
        d.c = a.d_hidden.slice(0, chunk.begin, chunk.count);
        d.accumulate = t > 0;
        HF_ISA::run(d, r);
      }
      if (a.d_weight) {
        GemmArgs d;
        d.a = g.transposed();
        d.b = a.hidden.slice(0, chunk.begin, chunk.count);
        d.c = tile_rows(a.d_weight, t);
        d.accumulate = true;
        HF_ISA::run(d, r);
      }
    }
  }

  // ∂L/∂(h Wᵀ) of row i in tile t, in place of its logits or exponentials: the temperature's 1/τ is in it.
  HF_INLINE void logit_gradient(const Chunk& chunk, int64_t t, int64_t i) const {
    float* z = row_of(logits, t, i);
    const int64_t width = columns(t);
    Coefficients c = coefs[chunk.at + i];
    c.coef *= inverse_temperature;
    c.entropy *= inverse_temperature;
    c.kl *= inverse_temperature;
    if (c.coef == 0 && c.entropy == 0 && c.kl == 0) {
      __builtin_memset(z, 0, static_cast<size_t>(width) * sizeof(float));
      return;
    }
    if (keep_exponentials) {
      const RowStats& s = stats[i];
      const double from_tile = ::exp(static_cast<double>(tile_max[t * chunk.count + i]) - s.max);
      scale_row(z, width, static_cast<float>(c.coef * from_tile / s.sum));
    } else {
      gradient_of_logits(z, chunk, t, i, c);
    }
    const int64_t y = target(chunk.begin + i) - t * chunks.tile;
    if (y >= 0 && y < width) z[y] -= c.coef;
  }

  // p (coef + ent (log p + H) + kl (log p − log q − KL)), in place of z.
  HF_INLINE void gradient_of_logits(float* z, const Chunk& chunk, int64_t t, int64_t i,
                                    const Coefficients& c) const {
    const int64_t width = columns(t);
    const float row_entropy = entropy[chunk.at + i], row_kl = kl[chunk.at + i];
    const LogSoftmax p(stats[i]), q(chunks.exact ? ref_stats[i] : stats[i]);
    const float* ref = chunks.exact ? row_of(ref_logits, t, i) : z;
    const Floats coef = broadcast(c.coef), ent = broadcast(c.entropy), kl_coef = broadcast(c.kl);
    for (int64_t v = 0; v < width; v += kLanes) {
      const Floats log_p = p.policy(z + v, width - v);
      Floats factor = coef + ent * (log_p + row_entropy);
      if (chunks.exact) factor += kl_coef * (log_p - q.reference(ref + v, width - v) - row_kl);
      store_partial(z + v, exp(log_p) * factor, width - v);
    }
  }

  // d_bias += the tile's column sums.
  void add_columns(const float* tile, int64_t count, int64_t t) {
    const int64_t width = columns(t), step = 16 * kLanes;
    float* out = a.d_bias.as<float>() + t * chunks.tile;
    parallel_for(r, (width + step - 1) / step, [&](int64_t block) {
      const int64_t end = (block + 1) * step < width ? (block + 1) * step : width;
      for (int64_t v = block * step; v < end; v += kLanes) {
        Floats total{};
        for (int64_t i = 0; i < count; ++i)
          total += load_partial(tile + i * chunks.stride + v, end - v);
        store_partial(out + v, load_partial(out + v, end - v) + total, end - v);
      }
    });
  }
};

}  // namespace

void run(const LinearPolicyGradientArgs& a, Run& r) {
  check_values(a);
  if (a.hidden.shape[0] == 0) return;
  Scratch scratch(r);
  Call call(a, r);
  call.allocate(scratch);
  const int64_t N = call.N, rows = call.chunks.held_rows();
  if (call.shared_ratio) {
    call.sequence_coefficients(rows);
    if (!call.chunks.gradients) return;
  }
  for (int64_t begin = 0; begin < N; begin += rows) {
    const Chunk chunk{begin, begin + rows < N ? rows : N - begin, call.shared_ratio ? begin : 0};
    call.forward(chunk);
    if (!call.shared_ratio) {
      call.finish_rows(chunk);
      call.row_coefficients(begin, begin + chunk.count, chunk.at);
    }
    if (call.chunks.gradients) call.backward(chunk);
    report_op_progress(r, begin + chunk.count, N);
  }
}

}  // namespace hf::HF_ISA
