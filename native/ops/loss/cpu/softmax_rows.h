// One row of logits at a time: its maximum, its softmax statistics over a tile of the vocabulary, and
// log-softmax.
#pragma once

#include "backends/cpu/simd.h"

namespace hf::HF_ISA {

constexpr float kInfinity = __builtin_inff();
constexpr float kNegligible = -100;  // e^x is 0 from here down, so x may stand for −∞ without 0 · ∞
constexpr float kLeastLogit = -1e30f;

// Running statistics of a row: m, Σ e^(z−m), Σ e^(z−m) (z−m). Float64 across tiles.
struct RowStats {
  double sum, moment;
  float max;
  int32_t argmax;

  HF_INLINE void clear() {
    sum = 0;
    moment = 0;
    max = -kInfinity;
    argmax = 0;
  }

  // A tile with its own maximum (finite, unless the tile adds nothing).
  HF_INLINE void merge(float tile_max, double tile_sum, double tile_moment) {
    if (tile_sum == 0) return;
    const double gap = sum == 0 ? 0 : static_cast<double>(tile_max) - max;
    if (sum == 0) {
      max = tile_max;
      sum = tile_sum;
      moment = tile_moment;
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

  HF_INLINE float log_sum() const { return static_cast<float>(::log(sum)); }
};

HF_INLINE float row_max(const float* z, int64_t count) {
  Floats m0 = broadcast(-kInfinity), m1 = m0, m2 = m0, m3 = m0;
  int64_t v = 0;
  for (; v + 4 * kLanes <= count; v += 4 * kLanes) {
    m0 = max(load(z + v), m0);
    m1 = max(load(z + v + kLanes), m1);
    m2 = max(load(z + v + 2 * kLanes), m2);
    m3 = max(load(z + v + 3 * kLanes), m3);
  }
  for (; v < count; v += kLanes)
    m0 = max(load_partial(z + v, count - v, -kInfinity), m0);
  return max_of(max(max(m0, m1), max(m2, m3)));
}

HF_INLINE int32_t first_equal(const float* z, int64_t count, float value) {
  for (int64_t v = 0; v < count; ++v)
    if (z[v] == value) return static_cast<int32_t>(v);
  return 0;
}

struct RowSums {
  double sum, moment;
};

// Σ e and Σ e·d with d = z − m and e = e^d, in float32 lanes. With `kStore`, z becomes e.
template <bool kStore>
HF_INLINE RowSums row_sums(float* z, int64_t count, float m) {
  const Floats shift = broadcast(m), floor = broadcast(kNegligible);
  Floats s0{}, s1{}, t0{}, t1{};
  int64_t v = 0;
  for (; v + 2 * kLanes <= count; v += 2 * kLanes) {
    const Floats d0 = max(floor, load(z + v) - shift), d1 = max(floor, load(z + v + kLanes) - shift);
    const Floats e0 = exp(d0), e1 = exp(d1);
    if (kStore) {
      store(z + v, e0);
      store(z + v + kLanes, e1);
    }
    s0 += e0;
    s1 += e1;
    t0 += e0 * d0;
    t1 += e1 * d1;
  }
  for (; v < count; v += kLanes) {
    const Floats d = max(floor, load_partial(z + v, count - v, -kInfinity) - shift);
    const Floats e = exp(d);
    if (kStore) store_partial(z + v, e, count - v);
    s0 += e;
    t0 += e * d;
  }
  return {sum(s0 + s1), sum(t0 + t1)};
}

// log softmax(z) of a row whose statistics are known: (z − max) − log Σ, which keeps digits that z − lse
// loses at large logits. `left` numbers of z are there.
struct LogSoftmax {
  Floats max_logit, log_sum;

  HF_INLINE explicit LogSoftmax(const RowStats& s)
      : max_logit(broadcast(s.max)), log_sum(broadcast(s.log_sum())) {}

  // Of the policy: what is as good as impossible has log p = kNegligible.
  HF_INLINE Floats policy(const float* z, int64_t left) const {
    return max(broadcast(kNegligible), (load_partial(z, left, -kInfinity) - max_logit) - log_sum);
  }
  // Of the reference, whose log-probabilities count as they are.
  HF_INLINE Floats reference(const float* z, int64_t left) const {
    return max(broadcast(kLeastLogit), (load_partial(z, left) - max_logit) - log_sum);
  }
};

// Σ p (log p − log q) over the `width` logits of a tile.
HF_INLINE float tile_kl(const float* z, const LogSoftmax& p, const float* ref_z, const LogSoftmax& q,
                        int64_t width) {
  Floats total{};
  for (int64_t v = 0; v < width; v += kLanes) {
    const Floats log_p = p.policy(z + v, width - v);
    const Floats log_q = q.reference(ref_z + v, width - v);
    total += exp(log_p) * (log_p - log_q);
  }
  return sum(total);
}

// z *= factor
HF_INLINE void scale_row(float* z, int64_t width, float factor) {
  const Floats scale = broadcast(factor);
  int64_t v = 0;
  for (; v + kLanes <= width; v += kLanes)
    store(z + v, load(z + v) * scale);
  if (v < width) store_partial(z + v, load_partial(z + v, width - v) * scale, width - v);
}

}  // namespace hf::HF_ISA
