// Draws one token per row of logits, with float64 probabilities and the Philox stream of every other implementation. A block owns a row, a thread a run of
// consecutive ids, so sums go in the order of ids. Restrictions need no sort: the k-th largest logit, and the one at which the most likely tokens
// reach top_p, are found bit by bit (32 passes over the row, which is in L2), ties by id. Shared memory: 3 KiB. Memory bound when unrestricted.
#include <cmath>
#include <vector>

#include "core/philox.h"
#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

// A float's bits in the order of its value.
HF_DEVICE uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x == 0 ? 0.0f : x);  // −0 and 0 are equal
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct Sampling {
  Rows logits;
  const int32_t *streams, *counters;
  int32_t *tokens, *status;  // status: −1 fine, else the column of a NaN, or V when the largest logit is not finite
  float* logps;
  int64_t vocabulary, top_k;
  uint64_t seed, first_stream;
  double temperature, top_p, log_min_p;
  bool greedy, has_min_p;
};

// The tokens with a key above `key`, and the first `ties` in the order of ids of those with that key.
struct Kept {
  uint32_t key = 0;
  int64_t ties = INT64_MAX;
};

class Row {
 public:
  HF_DEVICE Row(const Sampling& p, Shared<double> room, Shared<double> sums, Shared<int32_t> equals) : p_(p), room_(room), sums_(sums), equals_(equals) {
    z_ = p.logits.row(blockIdx.x);
    const int64_t run = (p.vocabulary + kThreads - 1) / kThreads;
    begin_ = int64_t(threadIdx.x) * run < p.vocabulary ? int64_t(threadIdx.x) * run : p.vocabulary;
    end_ = begin_ + run < p.vocabulary ? begin_ + run : p.vocabulary;
  }

  HF_DEVICE void draw() {
    if (!find_best()) return;
    Kept kept;
    double total = 0;
    if (!p_.greedy) {
      if (p_.top_k > 0 && p_.top_k < p_.vocabulary) kept = restrict_to(kept, double(p_.top_k), /*by_count=*/true);
      if (p_.top_p < 1) kept = restrict_to(kept, p_.top_p * measure(kept, 0, false, false), false);
    }
    total = measure(kept, 0, false, true);
    const int32_t token = p_.greedy ? best_ : inverse(kept, total);
    if (threadIdx.x == 0) {
      p_.tokens[blockIdx.x] = token;
      p_.logps[blockIdx.x] = static_cast<float>(scaled(token) - log(total));
    }
  }

 private:
  HF_DEVICE double scaled(int64_t v) const { return (double(z_[v]) - double(most_)) / p_.temperature; }

  // The largest logit at its lowest id; false, with the row's status written, when the row cannot be drawn from.
  HF_DEVICE bool find_best() {
    float most = -INFINITY;
    int32_t at = INT32_MAX, nan = INT32_MAX;
    for (int64_t v = begin_; v < end_; ++v) {
      const float x = z_[v];
      if (x != x) nan = nan < int32_t(v) ? nan : int32_t(v);
      else if (x > most || at == INT32_MAX) most = x, at = int32_t(v);
    }
    // Over the warp, then over the warps.
#pragma unroll
    for (int flip = 1; flip < kWarp; flip *= 2) {
      const float other = __shfl_xor_sync(kAllLanes, most, flip);
      const int32_t other_at = __shfl_xor_sync(kAllLanes, at, flip), other_nan = __shfl_xor_sync(kAllLanes, nan, flip);
      if (other > most || (other == most && other_at < at)) most = other, at = other_at;
      nan = nan < other_nan ? nan : other_nan;
    }
    const int warp = threadIdx.x / kWarp;
    if (threadIdx.x % kWarp == 0) room_[warp] = double(most), equals_[2 * warp] = at, equals_[2 * warp + 1] = nan;
    __syncthreads();
    for (int w = 0; w < kThreads / kWarp; ++w) {
      const float other = static_cast<float>(static_cast<double>(room_[w]));
      const int32_t other_at = equals_[2 * w], other_nan = equals_[2 * w + 1];
      if (w == 0 || other > most || (other == most && other_at < at)) most = other, at = other_at;
      nan = w == 0 ? other_nan : nan < other_nan ? nan : other_nan;
    }
    __syncthreads();
    most_ = most, best_ = at;
    const bool finite = most > -INFINITY && most < INFINITY;
    if (threadIdx.x == 0) p_.status[blockIdx.x] = nan != INT32_MAX ? nan : finite ? -1 : int32_t(p_.vocabulary);
    return nan == INT32_MAX && finite;
  }

  // How many of the thread's ids have the kept set's own key and come before it.
  HF_DEVICE int64_t ties_before(const Kept& kept) {
    int32_t mine = 0;
    for (int64_t v = begin_; v < end_; ++v) mine += ordered(z_[v]) == kept.key;
    equals_[threadIdx.x] = mine;
    __syncthreads();
    int64_t before = 0;
    for (int i = 0; i < int(threadIdx.x); ++i) before += equals_[i];
    __syncthreads();
    return before;
  }
  HF_DEVICE bool contains(const Kept& kept, uint32_t key, int64_t& rank) const { return key > kept.key || (key == kept.key && rank++ < kept.ties); }

  // Σ of weights (or the number) of the kept tokens with a key of at least `least`; with `last`, of those that min_p leaves.
  HF_DEVICE double measure(const Kept& kept, uint32_t least, bool by_count, bool last) {
    int64_t rank = kept.ties == INT64_MAX ? 0 : ties_before(kept);
    double sum = 0;
    for (int64_t v = begin_; v < end_; ++v) {
      const uint32_t key = ordered(z_[v]);
      if (!contains(kept, key, rank) || key < least) continue;
      if (last && !possible(v)) continue;
      sum += by_count ? 1.0 : exp(scaled(v));
    }
    return block_sum(sum, room_);
  }
  HF_DEVICE bool possible(int64_t v) const { return p_.greedy || !p_.has_min_p || scaled(v) >= p_.log_min_p; }

  // The smallest set of most likely tokens of `kept` whose measure reaches `enough`.
  HF_DEVICE Kept restrict_to(const Kept& kept, double enough, bool by_count) {
    uint32_t key = 0;
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1)
      if (measure(kept, key | bit, by_count, false) >= enough) key |= bit;
    if (key == 0) return kept;  // even all of them do not reach it: rounding
    Kept out;
    out.key = key;
    double sum = key == 0xffffffffu ? 0 : measure(kept, key + 1, by_count, false);
    const double all = measure(kept, key, by_count, false);
    const double one = by_count ? 1.0 : weight_of_key(key);
    out.ties = 0;
    while (sum < enough && (out.ties == 0 || sum < all)) sum += one, ++out.ties;
    return out;
  }
  HF_DEVICE double weight_of_key(uint32_t key) const {
    const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    return exp((double(__uint_as_float(bits)) - double(most_)) / p_.temperature);
  }

  // The first token, in the order of ids, at which the running sum passes u · total.
  HF_DEVICE int32_t inverse(const Kept& kept, double total) {
    const double u = philox_uniform(p_.seed, p_.first_stream + static_cast<uint32_t>(p_.streams[blockIdx.x]), static_cast<uint32_t>(p_.counters[blockIdx.x]));
    const double target = u * total;
    const int64_t before = kept.ties == INT64_MAX ? 0 : ties_before(kept);
    int64_t rank = before;
    double sum = 0;
    int32_t last = -1;  // the thread's last token that is possible at all
    for (int64_t v = begin_; v < end_; ++v) {
      if (!contains(kept, ordered(z_[v]), rank) || !possible(v)) continue;
      const double weight = exp(scaled(v));
      if (weight > 0) last = int32_t(v);
      sum += weight;
    }
    sums_[threadIdx.x] = sum, equals_[threadIdx.x] = last;
    __syncthreads();
    // Every thread finds the run in which the sum passes; only its owner looks further.
    double start = 0;
    int owner = -1;
    int32_t token = best_;
    for (int i = 0; i < kThreads; ++i) {
      const int32_t possible_last = equals_[i];
      if (possible_last >= 0) token = possible_last;  // should rounding keep the sum below the target
      const double next = start + static_cast<double>(sums_[i]);
      if (next > target) {
        owner = i;
        break;
      }
      start = next;
    }
    __syncthreads();
    if (owner == int(threadIdx.x)) {
      rank = before;
      double running = start;
      for (int64_t v = begin_; v < end_; ++v) {
        if (!contains(kept, ordered(z_[v]), rank) || !possible(v)) continue;
        const double weight = exp(scaled(v));
        if (weight > 0) token = int32_t(v);
        running += weight;
        if (running > target) break;
      }
      equals_[0] = token;
    } else if (owner < 0 && threadIdx.x == 0) {
      equals_[0] = token;
    }
    __syncthreads();
    return equals_[0];
  }

  const Sampling& p_;
  Shared<double> room_, sums_;
  Shared<int32_t> equals_;
  const float* z_;
  int64_t begin_, end_;
  float most_ = 0;
  int32_t best_ = 0;
};

HF_KERNEL __launch_bounds__(kThreads) sample_kernel(Sampling p) {
  SharedMemory memory;
  const Shared<double> room = memory.take<double>(kThreads / kWarp), sums = memory.take<double>(kThreads);
  const Shared<int32_t> equals = memory.take<int32_t>(kThreads);
  Row(p, room, sums, equals).draw();
}
constexpr int kShared = kThreads / kWarp * sizeof(double) + kThreads * (sizeof(double) + sizeof(int32_t));

}  // namespace

void run(const SampleTokenArgs& args, Run& r) {
  const int64_t B = args.logits.shape[0], V = args.logits.shape[1];
  on_device(args, r, [&](const SampleTokenArgs& a, Stream& stream) {
    Sampling p{};
    p.logits = rows_of(a.logits), p.streams = a.streams.as<const int32_t>(), p.counters = a.counters.as<const int32_t>();
    p.tokens = a.tokens.as<int32_t>(), p.status = device_scratch<int32_t>(r, B), p.logps = a.logps.as<float>();
    p.vocabulary = V, p.top_k = a.top_k, p.seed = uint64_t(a.seed), p.first_stream = uint64_t(a.first_stream);
    p.greedy = a.temperature == 0, p.temperature = p.greedy ? 1 : a.temperature, p.top_p = a.top_p;
    p.has_min_p = a.min_p > 0, p.log_min_p = p.has_min_p ? std::log(a.min_p) : 0;
    launch("sample_token", sample_kernel, dim3(unsigned(B)), kThreads, kShared, stream, p);
    std::vector<int32_t> status(static_cast<size_t>(B));
    stream.copy(status.data(), p.status, B * int64_t(sizeof(int32_t)));
    for (int64_t b = 0; b < B; ++b) {
      HF_CHECK(status[b] < 0 || status[b] >= V, ErrorCode::kInvalidArg, "sample_token: logits[%lld, %d] is NaN", static_cast<long long>(b), status[b]);
      HF_CHECK(status[b] < 0, ErrorCode::kInvalidArg, "sample_token: the largest logit of row %lld must be finite", static_cast<long long>(b));
    }
  });
}

}  // namespace hf::cuda
