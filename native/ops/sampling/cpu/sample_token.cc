// One token per row of logits (ops/sampling/sample_token.h). Whatever the restrictions keep is a beginning of
// the order "larger logit first, then lower id", so it is described by its last member, the cut:
//   top_k  a heap of the k best; most vectors of logits are passed over with one comparison against its worst member
//   top_p  probabilities summed in bins of equal logit width; only the bin where the sum crosses top_p is sorted
//   min_p  a bound on log p − log p_max
// Then one pass sums the kept probabilities in float64 by blocks of kBlock ids, and inversion looks inside
// one block only. Never stored: the probabilities. complexity: O(V) exponentials, two or three passes over a
// row that stays in the cache.
#include "backends/cpu/isa.h"
#include "backends/cpu/math_extra.h"
#include "backends/cpu/rows.h"
#include "core/fail.h"
#include "core/philox.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 14;  // logits in about 30 µs
constexpr int64_t kMostTasks = 64;   // each has scratch memory of its own
constexpr int64_t kBlock = 128;
constexpr int64_t kBins = 512;
constexpr double kBinnedRange =
    32;  // log p_max − log p that the bins resolve; the last bin takes what is less likely
constexpr float kInfinity = __builtin_inff();

struct Candidate {
  float logit;
  int32_t id;
};

HF_INLINE bool before(Candidate a, Candidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// A heap with the last of its members (in the order of before) at the top.
void sift_down(Candidate* heap, int64_t size, int64_t at) {
  const Candidate moved = heap[at];
  for (int64_t child; (child = 2 * at + 1) < size; at = child) {
    if (child + 1 < size && before(heap[child], heap[child + 1])) ++child;
    if (!before(moved, heap[child])) break;
    heap[at] = heap[child];
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

// The scratch memory of a task.
struct Work {
  double* sums;           // (V / kBlock + 1)
  Candidate* candidates;  // the heap of top_k, or the bin that top_p sorts
};

// One row, its largest logit, and what of it is kept.
struct Row {
  const float* logits;
  int64_t V;
  double largest, inverse_temperature;
  double floor = -__builtin_inf();  // of log p − log p_max
  Candidate cut = {-kInfinity, INT32_MAX};

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
    *low = *high = Doubles{};
    if (!any(kept)) return;
    v = select(kept, v, broadcast(-kInfinity));
  }
  const Doubles z_low = row.log_weights(widen_low(v)), z_high = row.log_weights(widen_high(v));
  *low = exp(z_low), *high = exp(z_high);
  if constexpr (kRestricted) {
    *low = z_low >= row.floor ? *low : Doubles{};
    *high = z_high >= row.floor ? *high : Doubles{};
  }
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

// The last member of the smallest set with probability top_p among all tokens.
Candidate nucleus(const Row& row, float smallest, double top_p, Candidate* candidates) {
  const double spread = row.log_weight(smallest), range = spread > -kBinnedRange ? -spread : kBinnedRange;
  // Float32 is enough: what counts is that a larger logit never has a later bin.
  const double wanted = range > 0 ? (kBins - 1) * row.inverse_temperature / range : 0;
  const float per_logit = static_cast<float>(wanted < 1e37 ? wanted : 1e37),
              largest = static_cast<float>(row.largest);
  double bins[kBins] = {};
  const auto bin_of = [&](Floats v) HF_BODY {
    return __builtin_convertvector(min((largest - v) * per_logit, broadcast(static_cast<float>(kBins - 1))),
                                   Ints);
  };
  for (int64_t v = 0; v < row.V; v += kLanes) {
    const int64_t count = row.V - v < kLanes ? row.V - v : kLanes;
    const Ints bin = bin_of(load_partial(row.logits + v, count, -kInfinity));
    double weight[kLanes];
    Doubles low, high;
    weights<false>(row, v, count, &low, &high);
    store(weight, low);
    store(weight + kLanes / 2, high);
    for (int i = 0; i < kLanes; ++i)
      bins[bin[i]] += weight[i];
  }
  double total = 0;
  for (double weight : bins)
    total += weight;
  const double enough = top_p * total;
  double sum = 0;
  int64_t crossed = 0;
  while (crossed < kBins - 1 && sum + bins[crossed] < enough)
    sum += bins[crossed++];
  int64_t size = 0;
  for (int64_t v = 0; v < row.V; v += kLanes) {
    const int64_t count = row.V - v < kLanes ? row.V - v : kLanes;
    const Ints inside =
        bin_of(load_partial(row.logits + v, count, -kInfinity)) == static_cast<int32_t>(crossed);
    if (!any(inside)) continue;
    for (int64_t i = 0; i < count; ++i)
      if (inside[i]) candidates[size++] = {row.logits[v + i], static_cast<int32_t>(v + i)};
  }
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
    const int64_t end = begin + kBlock < row.V ? begin + kBlock : row.V;
    Doubles low_sum{}, high_sum{};
    for (int64_t v = begin; v < end; v += kLanes) {
      Doubles low, high;
      weights<kRestricted>(row, v, end - v, &low, &high);
      low_sum += low, high_sum += high;
    }
    total += sums[block] = sum(low_sum + high_sum);
  }
  return total;
}

// The first kept token, in id order, with which the sum of weights exceeds target.
template <bool kRestricted>
int64_t invert(const Row& row, const double* sums, double target) {
  const int64_t blocks = (row.V + kBlock - 1) / kBlock;
  double sum = 0;
  int64_t chosen = 0;
  double before_chosen = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    if (sums[block] > 0)
      chosen = block,
      before_chosen = sum;  // the last possible one should rounding keep the sum below the target
    sum += sums[block];
    if (sum > target) break;
  }
  sum = before_chosen;
  int64_t token = 0;
  const int64_t begin = chosen * kBlock, end = begin + kBlock < row.V ? begin + kBlock : row.V;
  for (int64_t v = begin; v < end; v += kLanes) {
    double weight[kLanes];
    Doubles low, high;
    weights<kRestricted>(row, v, end - v, &low, &high);
    store(weight, low);
    store(weight + kLanes / 2, high);
    for (int64_t i = 0; i < kLanes && v + i < end; ++i) {
      if (weight[i] > 0) token = v + i;
      sum += weight[i];
      if (sum > target) return token;
    }
  }
  return token;
}

struct Extent {
  float largest, smallest;
  bool valid;
};

Extent extent_of(const float* logits, int64_t V) {
  Floats largest = broadcast(-kInfinity), smallest = broadcast(kInfinity);
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

// Returns false for a row that no token can be drawn from.
bool sample_row(const SampleTokenArgs& a, int64_t b, const Work& work) {
  Row row{a.logits.as<float>() + b * a.logits.stride[0], a.logits.shape[1], 0, 1};
  const Extent extent = extent_of(row.logits, row.V);
  if (!extent.valid) return false;
  row.largest = extent.largest;
  int64_t token = 0;
  double total;
  if (a.temperature == 0) {
    while (row.logits[token] != extent.largest)
      ++token;
    total = sum_blocks<false>(row, work.sums);
  } else {
    const double inverse = 1 / a.temperature;
    row.inverse_temperature = inverse < 1e300 ? inverse : 1e300;  // finite: 0 · ∞ would be NaN
    if (a.min_p > 0) row.floor = __builtin_log(a.min_p);
    if (a.top_k > 0 && a.top_k < row.V) {
      best_of_row(row, a.top_k, work.candidates);
      row.cut = work.candidates[0];
      if (a.top_p < 1) {
        sort_heap(work.candidates, a.top_k);
        double sum = 0;
        for (int64_t i = 0; i < a.top_k; ++i)
          sum += row.weight(work.candidates[i].logit);
        row.cut = crossing(row, work.candidates, a.top_k, 0, a.top_p * sum);
      }
    } else if (a.top_p < 1) {
      row.cut = nucleus(row, extent.smallest, a.top_p, work.candidates);
    }
    const double u = philox_uniform(
        static_cast<uint64_t>(a.seed),
        static_cast<uint64_t>(a.first_stream) + static_cast<uint32_t>(a.streams.as<int32_t>()[b]),
        static_cast<uint32_t>(a.counters.as<int32_t>()[b]));
    if (row.cut.logit > -kInfinity || a.min_p > 0) {
      total = sum_blocks<true>(row, work.sums);
      token = invert<true>(row, work.sums, u * total);
    } else {
      total = sum_blocks<false>(row, work.sums);
      token = invert<false>(row, work.sums, u * total);
    }
  }
  a.tokens.as<int32_t>()[b] = static_cast<int32_t>(token);
  a.logps.as<float>()[b] = static_cast<float>(row.log_weight(row.logits[token]) - __builtin_log(total));
  return true;
}

[[noreturn]] void refuse(const SampleTokenArgs& a, int64_t b) {
  const float* logits = a.logits.as<float>() + b * a.logits.stride[0];
  for (int64_t v = 0; v < a.logits.shape[1]; ++v)
    if (logits[v] != logits[v])
      fail(ErrorCode::kInvalidArg, "sample_token: logits[%lld, %lld] is NaN", (long long)b, (long long)v);
  fail(ErrorCode::kInvalidArg, "sample_token: the largest logit of row %lld must be finite, got %g",
       (long long)b, static_cast<double>(extent_of(logits, a.logits.shape[1]).largest));
}

}  // namespace

void run(const SampleTokenArgs& a, Run& r) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1];
  if (B == 0) return;
  const int64_t few = (B + kMostTasks - 1) / kMostTasks, worth = kGrain / V, rows = worth > few ? worth : few;
  const int64_t tasks = (B + rows - 1) / rows, blocks = (V + kBlock - 1) / kBlock;
  const int64_t candidates = a.top_k > 0 && a.top_k < V ? a.top_k : a.top_p < 1 ? V : 0;
  Scratch scratch(r);
  double* sums = scratch.allocate<double>(tasks * blocks);
  Candidate* memory = scratch.allocate<Candidate>(tasks * candidates);
  int64_t* refused = scratch.allocate<int64_t>(tasks);
  if (r.counting) return;
  parallel_for(r, tasks, [&](int64_t task) {
    const Work work{sums + task * blocks, memory + task * candidates};
    const int64_t end = (task + 1) * rows < B ? (task + 1) * rows : B;
    int64_t b = task * rows;
    while (b < end && sample_row(a, b, work))
      ++b;
    refused[task] = b < end ? b : -1;
  });
  for (int64_t task = 0; task < tasks; ++task)  // the first such row, whichever thread found it
    if (refused[task] >= 0) refuse(a, refused[task]);
}

}  // namespace hf::HF_ISA
