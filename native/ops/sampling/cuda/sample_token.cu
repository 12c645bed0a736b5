// Draws one token for each row of logits, with float64 probabilities and the Philox stream of every other
// implementation. A block owns a row, a warp a run of consecutive ids, so that every pass reads neighbouring
// numbers and the sums of the runs are in the order of ids.
//
// An unrestricted draw takes two passes: one for the largest logit, one for the sums of probabilities. After
// that only the run in which the sum passes u is divided among the warps, and again, down to an id for each
// lane. Restrictions need no sort. The k-th largest logit, and the one at which the most likely tokens reach
// top_p, are found bit by bit (32 passes over the row, which is in L2); ties go by id. Shared memory: 256
// bytes. Memory bound when unrestricted, with about 25 float64 operations a number.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"
#include "core/philox.h"

namespace hf::cuda {
namespace {

constexpr int kMostWarps = 16;
// Logits that are under way together: to load, and with their exponentials.
constexpr int kSearched = 8;
constexpr int kSummed = 4;

// A float's bits as an integer that is ordered as the values are: a *key*.
HF_DEVICE uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x == 0 ? 0.0f : x);  // −0 and 0 are equal
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

HF_DEVICE int lowest_bit(unsigned bits) {
  return __ffs(int(bits)) - 1;
}
HF_DEVICE int highest_bit(unsigned bits) {
  return 31 - __clz(int(bits));
}

struct Sampling {
  Rows logits;
  const int32_t *streams, *counters;
  int32_t* tokens;
  int32_t* status;  // −1: fine; the column of a NaN; or V when the largest logit is not finite
  float* logps;
  int64_t vocabulary, top_k;
  uint64_t seed, first_stream;
  double inverse_temperature, top_p, log_min_p;
  bool greedy, has_min_p;
};

// A set of most likely tokens: those with a key above `key`, and those with that key up to an id.
struct Kept {
  uint32_t key = 0;
  int32_t last = INT32_MAX;

  HF_DEVICE bool contains(uint32_t other, int32_t id) const {
    return other > key || (other == key && id <= last);
  }
};

struct Ids {
  int32_t begin, end;
};

// The row that the calling block draws from.
class Row {
 public:
  HF_DEVICE Row(const Sampling& p, Shared<double> sums, Shared<int32_t> ids)
      : p_(p), sums_(sums), ids_(ids), z_(p.logits.row(blockIdx.x)), all_{0, int32_t(p.vocabulary)} {}

  HF_DEVICE void draw() {
    if (!find_best()) return;
    const bool has_top_k = p_.top_k > 0 && p_.top_k < p_.vocabulary;
    const bool restricted = !p_.greedy && (has_top_k || p_.top_p < 1 || p_.has_min_p);
    if (!restricted) return draw_by([&](int32_t, float z) { return weight(z); });
    Kept kept;
    if (has_top_k) kept = restrict_to(kept, double(p_.top_k), /*by_count=*/true);
    if (p_.top_p < 1) {
      const double all = measure(kept, 0, /*by_count=*/false);
      kept = restrict_to(kept, p_.top_p * all, /*by_count=*/false);
    }
    draw_by([&](int32_t v, float z) {
      return kept.contains(ordered(z), v) && (!p_.has_min_p || scaled(z) >= p_.log_min_p) ? weight(z) : 0.0;
    });
  }

 private:
  // A token's log-probability and probability, but for the sum of all.
  HF_DEVICE double scaled(float z) const { return (double(z) - double(most_)) * p_.inverse_temperature; }
  HF_DEVICE double weight(float z) const { return exp(scaled(z)); }

  // Draws with probabilities in proportion to weight_of(id, logit), and writes token and log-probability.
  template <class Weight>
  HF_DEVICE void draw_by(const Weight& weight_of) {
    const double total = sum(all_, weight_of);
    int32_t token = best_;
    if (!p_.greedy) {
      const double u =
          philox_uniform(p_.seed, p_.first_stream + static_cast<uint32_t>(p_.streams[blockIdx.x]),
                         static_cast<uint32_t>(p_.counters[blockIdx.x]));
      token = find(u * total, weight_of);
    }
    if (threadIdx.x == 0) {
      p_.tokens[blockIdx.x] = token;
      p_.logps[blockIdx.x] = static_cast<float>(scaled(z_[token]) - log(total));
    }
  }

  // A warp's part of some ids.
  HF_DEVICE Ids part(Ids of, int warp) const {
    const int32_t warps = int32_t(blockDim.x) / kWarp;
    const int32_t length = ((of.end - of.begin + warps - 1) / warps + kWarp - 1) / kWarp * kWarp;
    const int64_t begin = of.begin + int64_t(warp) * length, end = begin + length;
    return {begin < of.end ? int32_t(begin) : of.end, end < of.end ? int32_t(end) : of.end};
  }
  // body(id, logit) for what the calling lane has of its warp's part, in the order of ids.
  template <int kFlight, class Body>
  HF_DEVICE void each(Ids of, const Body& body) const {
    const Ids ids = part(of, int(threadIdx.x) / kWarp);
    const int lane = int(threadIdx.x) % kWarp;
    for (int64_t first = ids.begin; first < ids.end; first += kFlight * kWarp) {
      const int32_t v = int32_t(first) + lane, count = ids.end - v;
      float z[kFlight];
      const bool whole = first + kFlight * kWarp <= ids.end;
      if (whole) {  // without conditions, so that the bodies are under way together as well
#pragma unroll
        for (int i = 0; i < kFlight; ++i)
          z[i] = z_[v + i * kWarp];
#pragma unroll
        for (int i = 0; i < kFlight; ++i)
          body(v + i * kWarp, z[i]);
      } else {
#pragma unroll
        for (int i = 0; i < kFlight; ++i)
          z[i] = i * kWarp < count ? z_[v + i * kWarp] : 0.0f;
#pragma unroll
        for (int i = 0; i < kFlight; ++i)
          if (i * kWarp < count) body(v + i * kWarp, z[i]);
      }
    }
  }
  // Σ of weight_of(id, logit) over some ids. What each warp's part has of it stays in sums_.
  template <class Weight>
  HF_DEVICE double sum(Ids of, const Weight& weight_of) {
    double mine = 0;
    each<kSummed>(of, [&](int32_t v, float z) { mine += weight_of(v, z); });
    mine = warp_sum(mine);
    __syncthreads();  // nobody reads the last ones any more
    if (threadIdx.x % kWarp == 0) sums_[int(threadIdx.x) / kWarp] = mine;
    __syncthreads();
    double total = 0;
    for (int w = 0; w < int(blockDim.x) / kWarp; ++w)
      total += static_cast<double>(sums_[w]);
    return total;
  }
  // The first id with which the running sum of weights passes `target`; where rounding lets none pass it, the
  // last one with a weight. To be called after sum(all_, weight_of).
  template <class Weight>
  HF_DEVICE int32_t find(double target, const Weight& weight_of) {
    Ids in = all_;
    double before = 0;
    for (;;) {
      int chosen = 0;
      double running = before;
      for (int w = 0; w < int(blockDim.x) / kWarp; ++w) {
        const double next = static_cast<double>(sums_[w]);
        if (next > 0) {
          chosen = w;
          before = running;
        }
        running += next;
        if (running > target) break;
      }
      in = part(in, chosen);
      if (in.end - in.begin <= kWarp) break;
      sum(in, weight_of);
    }
    // Every warp does the rest, for itself.
    const int lane = int(threadIdx.x) % kWarp, v = in.begin + lane;
    const double weight = v < in.end ? weight_of(v, z_[v]) : 0.0;
    double running = weight;
#pragma unroll
    for (int by = 1; by < kWarp; by *= 2) {
      const double other = __shfl_up_sync(kAllLanes, running, by);
      if (lane >= by) running += other;
    }
    const unsigned possible = __ballot_sync(kAllLanes, weight > 0);
    const unsigned passed = __ballot_sync(kAllLanes, weight > 0 && before + running > target);
    if (passed) return in.begin + lowest_bit(passed);
    return in.begin + (possible ? highest_bit(possible) : 0);
  }

  // Finds the largest logit, at its lowest id. False, with the row's status written, when the row cannot be
  // drawn from.
  HF_DEVICE bool find_best() {
    float most = -INFINITY;
    int32_t at = INT32_MAX, nan = INT32_MAX;
    each<kSearched>(all_, [&](int32_t v, float z) {
      if (z != z) {
        nan = nan < v ? nan : v;
      } else if (z > most || at == INT32_MAX) {
        most = z;
        at = v;
      }
    });
    const auto take = [&](float other, int32_t other_at, int32_t other_nan) {
      if (other > most || (other == most && other_at < at)) {
        most = other;
        at = other_at;
      }
      nan = nan < other_nan ? nan : other_nan;
    };
#pragma unroll
    for (int flip = 1; flip < kWarp; flip *= 2)
      take(__shfl_xor_sync(kAllLanes, most, flip), __shfl_xor_sync(kAllLanes, at, flip),
           __shfl_xor_sync(kAllLanes, nan, flip));
    const int warp = int(threadIdx.x) / kWarp;
    if (threadIdx.x % kWarp == 0) {
      sums_[warp] = double(most);
      ids_[2 * warp] = at;
      ids_[2 * warp + 1] = nan;
    }
    __syncthreads();
    for (int w = 0; w < int(blockDim.x) / kWarp; ++w)
      take(static_cast<float>(static_cast<double>(sums_[w])), ids_[2 * w], ids_[2 * w + 1]);
    most_ = most;
    best_ = at;
    const bool finite = most > -INFINITY && most < INFINITY;
    if (threadIdx.x == 0)
      p_.status[blockIdx.x] = nan != INT32_MAX ? nan : finite ? -1 : int32_t(p_.vocabulary);
    return nan == INT32_MAX && finite;
  }

  // Σ of weights (or the number) of the kept tokens with a key of at least `least`.
  HF_DEVICE double measure(const Kept& kept, uint32_t least, bool by_count) {
    return sum(all_, [&](int32_t v, float z) {
      const uint32_t key = ordered(z);
      return kept.contains(key, v) && key >= least ? (by_count ? 1.0 : weight(z)) : 0.0;
    });
  }

  // The smallest set of most likely tokens of `kept` whose measure reaches `enough`.
  HF_DEVICE Kept restrict_to(const Kept& kept, double enough, bool by_count) {
    uint32_t key = 0;
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1)
      if (measure(kept, key | bit, by_count) >= enough) key |= bit;
    if (key == 0) return kept;  // even all of them do not reach it: rounding
    double reached = key == 0xffffffffu ? 0 : measure(kept, key + 1, by_count);
    const double all = measure(kept, key, by_count);
    const double one = by_count ? 1.0 : weight_of_key(key);
    int64_t ties = 0;  // how many of the tokens with that key are needed
    while (reached < enough && (ties == 0 || (reached < all && reached + one > reached))) {
      reached += one;
      ++ties;
    }
    const auto tied = [&](int32_t v, float z) {
      return ordered(z) == key && kept.contains(key, v) ? 1.0 : 0.0;
    };
    sum(all_, tied);
    return {key, find(double(ties) - 0.5, tied)};
  }
  HF_DEVICE double weight_of_key(uint32_t key) const {
    return weight(__uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key));
  }

  const Sampling& p_;
  Shared<double> sums_;  // one a warp
  Shared<int32_t> ids_;  // two a warp
  const float* z_;
  const Ids all_;
  float most_ = 0;
  int32_t best_ = 0;
};

HF_KERNEL __launch_bounds__(kMostWarps* kWarp) sample_kernel(Sampling p) {
  SharedMemory memory;
  const Shared<double> sums = memory.take<double>(kMostWarps);
  Row(p, sums, memory.take<int32_t>(2 * kMostWarps)).draw();
}
constexpr int kShared = kMostWarps * (sizeof(double) + 2 * sizeof(int32_t));

}  // namespace

void run(const SampleTokenArgs& args, Run& r) {
  const int64_t B = args.logits.shape[0], V = args.logits.shape[1];
  on_device(args, r, [&](const SampleTokenArgs& a, Stream& stream) {
    Sampling p{};
    p.logits = rows_of(a.logits);
    p.streams = a.streams.as<const int32_t>();
    p.counters = a.counters.as<const int32_t>();
    p.tokens = a.tokens.as<int32_t>();
    p.status = device_scratch<int32_t>(r, B);
    p.logps = a.logps.as<float>();
    p.vocabulary = V;
    p.top_k = a.top_k;
    p.seed = uint64_t(a.seed);
    p.first_stream = uint64_t(a.first_stream);
    p.greedy = a.temperature == 0;
    p.top_p = a.top_p;
    // Finite, because 0 · ∞ would be NaN.
    p.inverse_temperature = p.greedy ? 1 : std::min(1 / a.temperature, 1e300);
    p.has_min_p = a.min_p > 0;
    p.log_min_p = p.has_min_p ? std::log(a.min_p) : 0;
    // Two at least, because find() divides. By V alone, so that no batch changes a row's sums.
    const int warps = int(std::clamp<int64_t>(blocks(V, kSearched * kWarp), 2, kMostWarps));
    launch("sample_token", sample_kernel, dim3(unsigned(B)), warps * kWarp, kShared, stream, p);
    std::vector<int32_t> status(static_cast<size_t>(B));
    stream.copy(status.data(), p.status, B * int64_t(sizeof(int32_t)));
    for (int64_t b = 0; b < B; ++b) {
      HF_CHECK(status[b] < 0 || status[b] >= V, ErrorCode::kInvalidArg,
               "sample_token: logits[%lld, %d] is NaN", static_cast<long long>(b), status[b]);
      HF_CHECK(status[b] < 0, ErrorCode::kInvalidArg,
               "sample_token: the largest logit of row %lld must be finite", static_cast<long long>(b));
    }
  });
}

}  // namespace hf::cuda
