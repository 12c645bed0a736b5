// One token per row of logits (ops/sampling/sample_token.h). A task owns some rows.
//
// Whatever the restrictions keep is a beginning of the order "larger logit first, then lower id", so it is
// described by its last member, the cut:
//   top_k  a heap of the k best; most vectors of logits are passed over with one comparison against its worst member
//   top_p  probabilities summed in bins of equal logit width; only the bin where the sum crosses top_p is sorted
//   min_p  a bound on log p − log p_max
// Then one pass sums the kept probabilities in float64 by blocks of kBlock ids, and inversion looks inside
// one block only. The probabilities are never stored. Complexity: O(V) exponentials, two or three passes over
// a row that stays in the cache.
#include "backends/cpu/isa.h"
#include "backends/cpu/math_extra.h"
#include "backends/cpu/rows.h"
#include "core/fail.h"
#include "core/philox.h"
#include "ops/sampling/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

using cpu::Candidate;

constexpr int64_t kBlock = cpu::SampleTokenSizes::kBlock;
constexpr int64_t kBins = 512;
// log p_max − log p that the bins resolve; the last bin takes what is less likely.
constexpr double kBinnedRange = 32;
constexpr float kInfinity = __builtin_inff();

// ---- a heap of candidates ---------------------------------------------------------------------------------

// The order of the tokens.
HF_INLINE bool before(Candidate a, Candidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// A heap with the last of its members (in the order of before) at the top.
void sift_down(Candidate* heap, int64_t size, int64_t at) {
  const Candidate moved = heap[at];
  for (int64_t child = 2 * at + 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && before(heap[child], heap[child + 1])) ++child;
    if (!before(moved, heap[child])) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
}
void make_heap(Candidate* heap, int64_t size) {
  for (int64_t at = size / 2; at-- > 0;)
    sift_down(heap, size, at);
}
void sort_heap(Candidate* heap, int64_t size) {
  while (--size > 0) {
    const Candidate last = heap[0];
    heap[0] = heap[size];
    heap[size] = last;
    sift_down(heap, size, 0);
  }
}

// ---- a row ------------------------------------------------------------------------------------------------

// The scratch memory of a task.
struct Work {
  double* sums;           // one per block of ids
  Candidate* candidates;  // the heap of top_k, or the bin that top_p sorts
};

// One row, its largest logit, and what of it is kept.
struct Row {
  const float* logits;
  int64_t V;
  double largest = 0;
  double inverse_temperature = 1;
  double floor = -__builtin_inf();  // of log p − log p_max
  Candidate cut = {-kInfinity, INT32_MAX};

  HF_INLINE bool restricted() const { return cut.logit > -kInfinity || floor > -__builtin_inf(); }

  HF_INLINE double log_weight(float logit) const {
    return (static_cast<double>(logit) - largest) * inverse_temperature;
  }
  HF_INLINE Doubles log_weights(Doubles logits) const { return (logits - largest) * inverse_temperature; }
  HF_INLINE double weight(float logit) const { return exp(broadcast(log_weight(logit)))[0]; }
  HF_INLINE Ints kept(Floats v, int64_t id) const {
    return (v > cut.logit) | ((v == cut.logit) & (lane_index() + static_cast<int32_t>(id) <= cut.id));
  }
};

// p / p_max of the kept logits from `id` on, 0 for the others.
template <bool kRestricted>
HF_INLINE void weights(const Row& row, int64_t id, int64_t count, Doubles* low, Doubles* high) {
  Floats v = load_partial(row.logits + id, count, -kInfinity);
  if constexpr (kRestricted) {
    const Ints kept = row.kept(v, id);
    if (!any(kept)) {
      *low = Doubles{};
      *high = Doubles{};
      return;
    }
    v = select(kept, v, broadcast(-kInfinity));
  }
  const Doubles z_low = row.log_weights(widen_low(v));
  const Doubles z_high = row.log_weights(widen_high(v));
  *low = exp(z_low);
  *high = exp(z_high);
  if constexpr (kRestricted) {
    *low = z_low >= row.floor ? *low : Doubles{};
    *high = z_high >= row.floor ? *high : Doubles{};
  }
}

// The same as kLanes numbers in a row.
template <bool kRestricted>
HF_INLINE void weights_of(const Row& row, int64_t id, int64_t count, double* weight) {
  Doubles low;
  Doubles high;
  weights<kRestricted>(row, id, count, &low, &high);
  store(weight, low);
  store(weight + kLanes / 2, high);
}

// The top_k best, unordered, as a heap.
void best_of_row(const Row& row, int64_t k, Candidate* heap) {
  for (int64_t v = 0; v < k; ++v)
    heap[v] = {row.logits[v], static_cast<int32_t>(v)};
  make_heap(heap, k);
  int64_t v = k;
  while (v < row.V) {
    const int64_t count = row.V - v < kLanes ? row.V - v : kLanes;
    if (any(load_partial(row.logits + v, count, -kInfinity) > heap[0].logit))
      for (int64_t i = v; i < v + count; ++i)
        if (row.logits[i] > heap[0].logit) {  // an equal one has the higher id
          heap[0] = {row.logits[i], static_cast<int32_t>(i)};
          sift_down(heap, k, 0);
        }
    v += count;
  }
}

// The first of the sorted candidates with which the sum, so far `before_them`, reaches `enough`.
Candidate crossing(const Row& row, const Candidate* sorted, int64_t size, double before_them, double enough) {
  double sum = before_them;
  for (int64_t i = 0; i < size; ++i) {
    sum += row.weight(sorted[i].logit);
    if (sum >= enough) return sorted[i];
  }
  return sorted[size - 1];
}

// Tokens by their logit: bin 0 holds the largest. A larger logit never has a later bin, and that is all that
// counts, so float32 is enough.
struct Bins {
  float largest;
  float per_logit;

  // smallest: the smallest logit of the row.
  HF_INLINE Bins(const Row& row, float smallest) : largest(static_cast<float>(row.largest)) {
    const double spread = row.log_weight(smallest);
    const double range = spread > -kBinnedRange ? -spread : kBinnedRange;
    const double wanted = range > 0 ? (kBins - 1) * row.inverse_temperature / range : 0;
    per_logit = static_cast<float>(wanted < 1e37 ? wanted : 1e37);
  }

  // The bins of kLanes logits from `id` on.
  HF_INLINE Ints of(const Row& row, int64_t id, int64_t count) const {
    const Floats v = load_partial(row.logits + id, count, -kInfinity);
    const Floats bin = min((largest - v) * per_logit, broadcast(static_cast<float>(kBins - 1)));
    return __builtin_convertvector(bin, Ints);
  }
};

// The tokens of one bin; returns their number.
int64_t collect_bin(const Row& row, const Bins& bins, int64_t wanted, Candidate* candidates) {
  int64_t size = 0;
  for (int64_t v = 0; v < row.V; v += kLanes) {
    const int64_t count = row.V - v < kLanes ? row.V - v : kLanes;
    const Ints inside = bins.of(row, v, count) == static_cast<int32_t>(wanted);
    if (!any(inside)) continue;
    for (int64_t i = 0; i < count; ++i)
      if (inside[i]) candidates[size++] = {row.logits[v + i], static_cast<int32_t>(v + i)};
  }
  return size;
}

// The last member of the smallest set with probability top_p among all tokens.
Candidate nucleus(const Row& row, float smallest, double top_p, Candidate* candidates) {
  const Bins bins(row, smallest);
  double sums[kBins] = {};
  for (int64_t v = 0; v < row.V; v += kLanes) {
    const int64_t count = row.V - v < kLanes ? row.V - v : kLanes;
    const Ints bin = bins.of(row, v, count);
    double weight[kLanes];
    weights_of<false>(row, v, count, weight);
    for (int i = 0; i < kLanes; ++i)
      sums[bin[i]] += weight[i];
  }
  double total = 0;
  for (double weight : sums)
    total += weight;
  const double enough = top_p * total;
  double sum = 0;
  int64_t crossed = 0;
  while (crossed < kBins - 1 && sum + sums[crossed] < enough)
    sum += sums[crossed++];
  const int64_t size = collect_bin(row, bins, crossed, candidates);
  if (size == 0) return {-kInfinity, INT32_MAX};  // rounding alone: the bins before the last hold everything
  make_heap(candidates, size);
  sort_heap(candidates, size);
  return crossing(row, candidates, size, sum, enough);
}

// Sums of the kept weights by block; returns the sum of all.
template <bool kRestricted>
double sum_blocks(const Row& row, double* sums) {
  double total = 0;
  for (int64_t begin = 0, block = 0; begin < row.V; begin += kBlock, ++block) {
    const int64_t end = cpu::least(begin + kBlock, row.V);
    Doubles low_sum{};
    Doubles high_sum{};
    for (int64_t v = begin; v < end; v += kLanes) {
      Doubles low;
      Doubles high;
      weights<kRestricted>(row, v, end - v, &low, &high);
      low_sum += low;
      high_sum += high;
    }
    sums[block] = sum(low_sum + high_sum);
    total += sums[block];
  }
  return total;
}

// The first kept token, in id order, with which the sum of weights exceeds target.
template <bool kRestricted>
int64_t invert(const Row& row, const double* sums, double target) {
  const int64_t blocks = cpu::divide_up(row.V, kBlock);
  double sum = 0;
  int64_t chosen = 0;
  double before_chosen = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    if (sums[block] > 0) {  // the last possible one should rounding keep the sum below the target
      chosen = block;
      before_chosen = sum;
    }
    sum += sums[block];
    if (sum > target) break;
  }
  sum = before_chosen;
  int64_t token = 0;
  const int64_t begin = chosen * kBlock;
  const int64_t end = cpu::least(begin + kBlock, row.V);
  for (int64_t v = begin; v < end; v += kLanes) {
    double weight[kLanes];
    weights_of<kRestricted>(row, v, end - v, weight);
    for (int64_t i = 0; i < kLanes && v + i < end; ++i) {
      if (weight[i] > 0) token = v + i;
      sum += weight[i];
      if (sum > target) return token;
    }
  }
  return token;
}

// A token drawn by inversion with the uniform number u, and the sum of the kept weights.
struct Drawn {
  int64_t token;
  double total;
};
template <bool kRestricted>
Drawn draw(const Row& row, double u, double* sums) {
  const double total = sum_blocks<kRestricted>(row, sums);
  return {invert<kRestricted>(row, sums, u * total), total};
}

struct Extent {
  float largest;
  float smallest;
  bool valid;  // a token can be drawn: no NaN, and a finite maximum
};

Extent extent_of(const float* logits, int64_t V) {
  Floats largest = broadcast(-kInfinity);
  Floats smallest = broadcast(kInfinity);
  Ints nan{};
  each_vector(V, [&](int64_t v, int64_t count) HF_BODY {
    const Floats x = load_partial(logits + v, count, logits[0]);
    nan |= x != x;
    largest = max(x, largest);
    smallest = min(x, smallest);
  });
  const float top = max_of(largest);
  return {top, -max_of(-smallest), !any(nan) && top > -kInfinity && top < kInfinity};
}

// ---- the restrictions -------------------------------------------------------------------------------------

// The last member of the nucleus among the top_k best.
Candidate best_nucleus(const Row& row, const SampleTokenArgs& a, Candidate* candidates) {
  sort_heap(candidates, a.top_k);
  double sum = 0;
  for (int64_t i = 0; i < a.top_k; ++i)
    sum += row.weight(candidates[i].logit);
  return crossing(row, candidates, a.top_k, 0, a.top_p * sum);
}

void restrict(const SampleTokenArgs& a, float smallest, Candidate* candidates, Row& row) {
  if (a.min_p > 0) row.floor = __builtin_log(a.min_p);
  if (a.top_k > 0 && a.top_k < row.V) {
    best_of_row(row, a.top_k, candidates);
    row.cut = a.top_p < 1 ? best_nucleus(row, a, candidates) : candidates[0];
  } else if (a.top_p < 1) {
    row.cut = nucleus(row, smallest, a.top_p, candidates);
  }
}

// The uniform number of row b.
double uniform_of(const SampleTokenArgs& a, int64_t b) {
  const uint64_t sample = static_cast<uint32_t>(a.streams.as<int32_t>()[b]);
  const uint64_t token = static_cast<uint32_t>(a.counters.as<int32_t>()[b]);
  return philox_uniform(static_cast<uint64_t>(a.seed), static_cast<uint64_t>(a.first_stream) + sample, token);
}

// Returns false for a row that no token can be drawn from.
bool sample_row(const SampleTokenArgs& a, int64_t b, const Work& work) {
  Row row{a.logits.as<float>() + b * a.logits.stride[0], a.logits.shape[1]};
  const Extent extent = extent_of(row.logits, row.V);
  if (!extent.valid) return false;
  row.largest = extent.largest;
  Drawn drawn;
  if (a.temperature == 0) {
    drawn.token = 0;
    while (row.logits[drawn.token] != extent.largest)
      ++drawn.token;
    drawn.total = sum_blocks<false>(row, work.sums);
  } else {
    const double inverse = 1 / a.temperature;
    row.inverse_temperature = inverse < 1e300 ? inverse : 1e300;  // finite: 0 · ∞ would be NaN
    restrict(a, extent.smallest, work.candidates, row);
    const double u = uniform_of(a, b);
    drawn = row.restricted() ? draw<true>(row, u, work.sums) : draw<false>(row, u, work.sums);
  }
  const double logp = row.log_weight(row.logits[drawn.token]) - __builtin_log(drawn.total);
  a.tokens.as<int32_t>()[b] = static_cast<int32_t>(drawn.token);
  a.logps.as<float>()[b] = static_cast<float>(logp);
  return true;
}

[[noreturn]] void refuse(const SampleTokenArgs& a, int64_t b) {
  const float* logits = a.logits.as<float>() + b * a.logits.stride[0];
  for (int64_t v = 0; v < a.logits.shape[1]; ++v)
    if (__builtin_isnan(logits[v]))
      fail(ErrorCode::kInvalidArg, "sample_token: logits[%lld, %lld] is NaN", (long long)b, (long long)v);
  fail(ErrorCode::kInvalidArg, "sample_token: the largest logit of row %lld must be finite, got %g",
       (long long)b, static_cast<double>(extent_of(logits, a.logits.shape[1]).largest));
}

}  // namespace

void run(const SampleTokenArgs& a, Run& r) {
  const int64_t B = a.logits.shape[0];
  if (B == 0) return;
  const cpu::SampleTokenSizes sizes(a);
  Scratch scratch(r);
  double* sums = scratch.allocate<double>(sizes.tasks * sizes.blocks);
  Candidate* candidates = scratch.allocate<Candidate>(sizes.tasks * sizes.candidates);
  int64_t* refused = scratch.allocate<int64_t>(sizes.tasks);
  parallel_for(r, sizes.tasks, [&](int64_t task) {
    const Work work{sums + task * sizes.blocks, candidates + task * sizes.candidates};
    const int64_t end = cpu::least((task + 1) * sizes.rows, B);
    int64_t b = task * sizes.rows;
    while (b < end && sample_row(a, b, work))
      ++b;
    refused[task] = b < end ? b : -1;
  });
  for (int64_t task = 0; task < sizes.tasks; ++task)  // the first such row, whichever thread found it
    if (refused[task] >= 0) refuse(a, refused[task]);
}

}  // namespace hf::HF_ISA
