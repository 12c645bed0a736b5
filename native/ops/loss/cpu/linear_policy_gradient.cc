// The fused policy gradient on the CPU: for every chunk of rows (ops/loss/row_chunks.h)
//   1. logits, tile by tile of the vocabulary, and while a tile is in the cache its maximum, Σe^(z−m) and Σe^(z−m)(z−m) per row,
//      merged in tile order; what stays in the buffer is e^(z−m_tile) where that is enough for the gradient, else z;
//   2. per row: logp, entropy, exact KL, and the coefficients (ops/loss/token_loss.h);
//   3. tile by tile: the gradient of the logits in place of them, and from it d_bias, d_hidden and d_weight.
// Sequence-level ratios need every row's logp before the first coefficient: then 1 and 2 run over all rows
// first. Row sums are float32 in vector lanes within a tile, float64 across tiles. Threads share the GEMMs
// and the rows of each tile.
#include "backends/cpu/isa.h"
#include "backends/cpu/simd.h"
#include "ops/loss/token_loss.h"
#include "ops/loss/row_chunks.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kRowBlock = 8;     // rows of one task
constexpr float kNegligible = -100;  // e^x is 0 from here down, so x may stand for −∞ without 0 · ∞

using Coefs = pg::RowCoefs<float>;

// Running softmax statistics of a row: m, Σe^(z−m), Σe^(z−m)(z−m).
struct RowStats {
  double sum, moment;
  float max;
  int32_t argmax;

  HF_INLINE void clear() { sum = 0, moment = 0, max = -__builtin_inff(), argmax = 0; }
  // A tile with its own maximum (finite, unless the tile adds nothing).
  HF_INLINE void merge(float tile_max, double tile_sum, double tile_moment) {
    if (tile_sum == 0) return;
    const double gap = sum == 0 ? 0 : static_cast<double>(tile_max) - max;
    if (sum == 0) {
      max = tile_max, sum = tile_sum, moment = tile_moment;
    } else if (gap > 0) {
      const double shrink = ::exp(-gap);
      moment = shrink * (moment - gap * sum) + tile_moment;
      sum = shrink * sum + tile_sum;
      max = tile_max;
    } else {
      const double shrink = ::exp(gap);
      moment += shrink * (tile_moment + gap * tile_sum);
      sum += shrink * tile_sum;
    }
  }
};

HF_INLINE float row_max(const float* z, int64_t count) {
  Floats m0 = broadcast(-__builtin_inff()), m1 = m0, m2 = m0, m3 = m0;
  int64_t v = 0;
  for (; v + 4 * kLanes <= count; v += 4 * kLanes) {
    m0 = max(load(z + v), m0), m1 = max(load(z + v + kLanes), m1);
    m2 = max(load(z + v + 2 * kLanes), m2), m3 = max(load(z + v + 3 * kLanes), m3);
  }
  for (; v < count; v += kLanes)
    m0 = max(load_partial(z + v, count - v, -__builtin_inff()), m0);
  return max_of(max(max(m0, m1), max(m2, m3)));
}

HF_INLINE int32_t first_equal(const float* z, int64_t count, float value) {
  for (int64_t v = 0; v < count; ++v)
    if (z[v] == value) return static_cast<int32_t>(v);
  return 0;
}

// Σe and Σe·d of d = z − m; with `store`, z becomes e.
template <bool kStore>
HF_INLINE void row_sums(float* z, int64_t count, float m, double* sum_out, double* moment_out) {
  const Floats shift = broadcast(m), floor = broadcast(kNegligible);
  Floats s0{}, s1{}, t0{}, t1{};
  int64_t v = 0;
  for (; v + 2 * kLanes <= count; v += 2 * kLanes) {
    const Floats d0 = max(floor, load(z + v) - shift), d1 = max(floor, load(z + v + kLanes) - shift);
    const Floats e0 = exp(d0), e1 = exp(d1);
    if (kStore) store(z + v, e0), store(z + v + kLanes, e1);
    s0 += e0, s1 += e1;
    t0 += e0 * d0, t1 += e1 * d1;
  }
  for (; v < count; v += kLanes) {
    const Floats d = max(floor, load_partial(z + v, count - v, -__builtin_inff()) - shift);
    const Floats e = exp(d);
    if (kStore) store_partial(z + v, e, count - v);
    s0 += e, t0 += e * d;
  }
  *sum_out = sum(s0 + s1), *moment_out = sum(t0 + t1);
}

// Everything one call needs; a chunk is rows [begin, begin + count).
struct Call {
  const LinearPolicyGradientArgs& a;
  Run& r;
  const pg::RowChunks plan;
  const int64_t N, V;
  const float inverse_temperature;
  const bool keep_exponentials;  // the buffer holds e^(z − m_tile) after the first sweep
  float* logits = nullptr;       // tiles of (rows, stride), then those of the reference
  float* ref_logits = nullptr;
  float* tile_max = nullptr;                   // (tiles, rows): what was subtracted before exponentiating
  float *bias = nullptr, *ref_bias = nullptr;  // over temperature
  float *target_logit = nullptr, *logp = nullptr, *entropy = nullptr, *kl = nullptr;
  RowStats *stats = nullptr, *ref_stats = nullptr;
  Coefs* coefs = nullptr;  // of the chunk, or of all rows when they are known beforehand

  HF_INLINE Call(const LinearPolicyGradientArgs& args, Run& run)
      : a(args),
        r(run),
        plan(args),
        N(args.hidden.shape[0]),
        V(args.weight.shape[0]),
        inverse_temperature(static_cast<float>(1 / args.temperature)),
        keep_exponentials(plan.gradients && !plan.exact && !args.entropy_coefficients &&
                          args.entropy_coef == 0) {}

  HF_INLINE int64_t target(int64_t n) const { return a.targets.as<const int32_t>()[n * a.targets.stride[0]]; }
  HF_INLINE int64_t columns(int64_t t) const { return t + 1 < plan.tiles ? plan.tile : V - t * plan.tile; }
  HF_INLINE float* tile_of(float* base, int64_t t) const {
    return base + (plan.keep ? t * plan.rows * plan.stride : 0);
  }

  HF_INLINE View tile_view(float* data, int64_t count, int64_t t) const {
    View v = make_view(data, DType::kF32, count, columns(t));
    v.stride[0] = plan.stride;
    return v;
  }

  float* scaled_bias(Scratch& scratch, const View& given) {
    if (!given) return nullptr;
    float* out = scratch.allocate<float>(V);
    for (int64_t v = 0; v < V; ++v)
      out[v] = given.as<const float>()[v * given.stride[0]] * inverse_temperature;
    return out;
  }

  void allocate(Scratch& scratch) {
    const int64_t rows = plan.keep ? plan.rows : plan.forward_rows;
    logits = scratch.allocate<float>(plan.floats());
    if (plan.exact) ref_logits = logits + plan.tiles * rows * plan.stride;
    tile_max = scratch.allocate<float>(plan.tiles * rows);
    bias = scaled_bias(scratch, a.bias), ref_bias = scaled_bias(scratch, a.ref_bias);
    target_logit = scratch.allocate<float>(rows);
    stats = scratch.allocate<RowStats>(rows);
    ref_stats = plan.exact ? scratch.allocate<RowStats>(rows) : nullptr;
    const int64_t scalars = a.importance != ImportanceLevel::kToken ? N : rows;
    logp = scratch.allocate<float>(scalars), entropy = scratch.allocate<float>(scalars),
    kl = scratch.allocate<float>(scalars);
    coefs = scratch.allocate<Coefs>(scalars);
  }

  void tile_logits(const View& hidden, const View& weight, const float* tile_bias, int64_t begin,
                   int64_t count, int64_t t, float* out) {
    GemmArgs g;
    g.a = hidden.slice(0, begin, count);
    g.b = weight.slice(0, t * plan.tile, columns(t)).transposed();
    g.c = tile_view(out, count, t);
    if (tile_bias) g.bias = make_view(const_cast<float*>(tile_bias) + t * plan.tile, DType::kF32, columns(t));
    g.alpha = inverse_temperature;
    HF_ISA::run(g, r);
  }

  // Step 1.
  void forward(int64_t begin, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      stats[i].clear(), target_logit[i] = 0;
    for (int64_t t = 0; t < plan.tiles; ++t) {
      checkpoint(r);
      float* z = tile_of(logits, t);
      tile_logits(a.hidden, a.weight, bias, begin, count, t, z);
      sweep(z, count, t, stats, begin, true);
    }
    if (!plan.exact) return;
    for (int64_t i = 0; i < count; ++i)
      ref_stats[i].clear();
    for (int64_t t = 0; t < plan.tiles; ++t) {
      checkpoint(r);
      float* z = tile_of(ref_logits, t);
      tile_logits(a.ref_hidden, a.ref_weight, ref_bias, begin, count, t, z);
      sweep(z, count, t, ref_stats, begin, false);
    }
  }

  // The statistics of one tile, `own` of the policy rather than the reference.
  void sweep(float* tile, int64_t count, int64_t t, RowStats* all, int64_t begin, bool own) {
    const int64_t width = columns(t), first = t * plan.tile;
    parallel_for(r, (count + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
      const int64_t end = (block + 1) * kRowBlock < count ? (block + 1) * kRowBlock : count;
      for (int64_t i = block * kRowBlock; i < end; ++i) {
        float* z = tile + i * plan.stride;
        RowStats& s = all[i];
        const float top = row_max(z, width);
        const float shift = top == -__builtin_inff() ? 0 : top;  // a tile that is masked altogether
        if (own) {
          const int64_t y = target(begin + i) - first;
          if (y >= 0 && y < width) target_logit[i] = z[y];
          if (a.argmax && top > s.max) s.argmax = static_cast<int32_t>(first + first_equal(z, width, top));
          tile_max[t * count + i] = shift;
        }
        double tile_sum, tile_moment;
        if (own && keep_exponentials)
          row_sums<true>(z, width, shift, &tile_sum, &tile_moment);
        else
          row_sums<false>(z, width, shift, &tile_sum, &tile_moment);
        s.merge(shift, tile_sum, tile_moment);
      }
    });
  }

  HF_INLINE static float log_sum(const RowStats& s) { return static_cast<float>(::log(s.sum)); }

  // Σ p (log p − log q), float64 across tiles.
  float row_kl(int64_t i) const {
    const RowStats &p = stats[i], &q = ref_stats[i];
    const Floats m = broadcast(p.max), log_s = broadcast(log_sum(p)), ref_m = broadcast(q.max),
                 ref_log_s = broadcast(log_sum(q));
    double total = 0;
    for (int64_t t = 0; t < plan.tiles; ++t) {
      const float* z = tile_of(logits, t) + i * plan.stride;
      const float* ref = tile_of(ref_logits, t) + i * plan.stride;
      const int64_t width = columns(t);
      Floats acc{};
      for (int64_t v = 0; v < width; v += kLanes) {
        const Floats log_p =
            max(broadcast(kNegligible), (load_partial(z + v, width - v, -__builtin_inff()) - m) - log_s);
        const Floats log_q = max(broadcast(-1e30f), (load_partial(ref + v, width - v) - ref_m) - ref_log_s);
        acc += exp(log_p) * (log_p - log_q);
      }
      total += sum(acc);
    }
    return static_cast<float>(total);
  }

  // Step 2 without the coefficients; offset: where this chunk's scalars lie.
  void finish_rows(int64_t begin, int64_t count, int64_t offset) {
    parallel_for(r, (count + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
      const int64_t end = (block + 1) * kRowBlock < count ? (block + 1) * kRowBlock : count;
      for (int64_t i = block * kRowBlock; i < end; ++i) {
        const RowStats& s = stats[i];
        const int64_t n = begin + i;
        const double log_s = ::log(s.sum);
        logp[offset + i] = target(n) == pg::kIgnored
                               ? 0
                               : static_cast<float>((static_cast<double>(target_logit[i]) - s.max) - log_s);
        entropy[offset + i] = static_cast<float>(log_s - s.moment / s.sum);
        kl[offset + i] = plan.exact ? row_kl(i) : 0;
        pg::put<float>(a.logps, n, logp[offset + i]);
        pg::put<float>(a.entropy, n, entropy[offset + i]);
        pg::put<float>(a.max_prob, n, 1 / s.sum);
        pg::put<int32_t>(a.argmax, n, s.argmax);
        pg::put<float>(a.lse, n, s.max + log_s);
      }
    });
  }

  // Step 3.
  void backward(int64_t begin, int64_t count, const Coefs* c, const float* row_entropy, const float* row_kl) {
    for (int64_t t = 0; t < plan.tiles; ++t) {
      checkpoint(r);
      float* tile = tile_of(logits, t);
      parallel_for(r, (count + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
        const int64_t end = (block + 1) * kRowBlock < count ? (block + 1) * kRowBlock : count;
        for (int64_t i = block * kRowBlock; i < end; ++i)
          logit_gradient(begin, i, t, count, c[i], row_entropy[i], row_kl[i]);
      });
      const View g = tile_view(tile, count, t);
      const View hidden = a.hidden.slice(0, begin, count);
      if (a.d_bias) add_columns(tile, count, t);
      if (a.d_hidden) {
        GemmArgs d;
        d.a = g, d.b = a.weight.slice(0, t * plan.tile, columns(t)), d.c = a.d_hidden.slice(0, begin, count);
        d.accumulate = t > 0;
        HF_ISA::run(d, r);
      }
      if (a.d_weight) {
        GemmArgs d;
        d.a = g.transposed(), d.b = hidden, d.c = a.d_weight.slice(0, t * plan.tile, columns(t));
        d.accumulate = true;
        HF_ISA::run(d, r);
      }
    }
  }

  // ∂L/∂(h Wᵀ) of row i in tile t, in place of its logits or exponentials: the temperature's 1/τ is in it.
  HF_INLINE void logit_gradient(int64_t begin, int64_t i, int64_t t, int64_t count, Coefs c, float row_h,
                                float row_kl) const {
    float* z = tile_of(logits, t) + i * plan.stride;
    const RowStats& s = stats[i];
    const int64_t width = columns(t);
    c.coef *= inverse_temperature, c.entropy *= inverse_temperature, c.kl *= inverse_temperature;
    if (c.coef == 0 && c.entropy == 0 && c.kl == 0) {
      __builtin_memset(z, 0, static_cast<size_t>(width) * sizeof(float));
      return;
    }
    if (keep_exponentials) {
      const Floats scale = broadcast(
          static_cast<float>(c.coef * ::exp(static_cast<double>(tile_max[t * count + i]) - s.max) / s.sum));
      int64_t v = 0;
      for (; v + kLanes <= width; v += kLanes)
        store(z + v, load(z + v) * scale);
      if (v < width) store_partial(z + v, load_partial(z + v, width - v) * scale, width - v);
    } else {
      const float ref_max = plan.exact ? ref_stats[i].max : 0,
                  ref_log_s = plan.exact ? log_sum(ref_stats[i]) : 0;
      const float* ref = plan.exact ? tile_of(ref_logits, t) + i * plan.stride : z;
      const Floats m = broadcast(s.max), log_s = broadcast(log_sum(s)), coef = broadcast(c.coef),
                   ent = broadcast(c.entropy), kl = broadcast(c.kl);
      for (int64_t v = 0; v < width; v += kLanes) {
        const Floats log_p =
            max(broadcast(kNegligible), (load_partial(z + v, width - v, -__builtin_inff()) - m) - log_s);
        Floats factor = coef + ent * (log_p + row_h);
        if (plan.exact) {
          const Floats log_q =
              max(broadcast(-1e30f), (load_partial(ref + v, width - v) - ref_max) - ref_log_s);
          factor += kl * (log_p - log_q - row_kl);
        }
        store_partial(z + v, exp(log_p) * factor, width - v);
      }
    }
    const int64_t y = target(begin + i) - t * plan.tile;
    if (y >= 0 && y < width) z[y] -= c.coef;
  }

  // d_bias += the tile's column sums.
  void add_columns(const float* tile, int64_t count, int64_t t) {
    const int64_t width = columns(t), step = 16 * kLanes;
    float* out = a.d_bias.as<float>() + t * plan.tile;
    parallel_for(r, (width + step - 1) / step, [&](int64_t block) {
      const int64_t end = (block + 1) * step < width ? (block + 1) * step : width;
      for (int64_t v = block * step; v < end; v += kLanes) {
        Floats total{};
        for (int64_t i = 0; i < count; ++i)
          total += load_partial(tile + i * plan.stride + v, end - v);
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
  const int64_t N = call.N, rows = call.plan.keep ? call.plan.rows : call.plan.forward_rows;
  const bool by_sequence = a.importance != ImportanceLevel::kToken;
  if (by_sequence) {
    for (int64_t begin = 0; begin < N; begin += rows) {
      const int64_t count = begin + rows < N ? rows : N - begin;
      call.forward(begin, count);
      call.finish_rows(begin, count, begin);
    }
    const int32_t* offsets = a.offsets.as<const int32_t>();
    for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s) {
      const int64_t begin = offsets[s * a.offsets.stride[0]], end = offsets[(s + 1) * a.offsets.stride[0]];
      pg::rows(a, begin, end, call.logp + begin, call.entropy + begin, call.kl + begin, call.coefs + begin);
    }
    if (!call.plan.gradients) return;
  }
  for (int64_t begin = 0; begin < N; begin += rows) {
    const int64_t count = begin + rows < N ? rows : N - begin, at = by_sequence ? begin : 0;
    call.forward(begin, count);
    if (!by_sequence) {
      call.finish_rows(begin, count, 0);
      pg::rows(a, begin, begin + count, call.logp, call.entropy, call.kl, call.coefs);
    }
    if (call.plan.gradients) call.backward(begin, count, call.coefs + at, call.entropy + at, call.kl + at);
    report_op_progress(r, begin + count, N);
  }
}

}  // namespace hf::HF_ISA
