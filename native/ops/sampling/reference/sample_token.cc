#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backends/reference/reference.h"
#include "core/philox.h"

namespace hf::reference {
namespace {

// One row of logits. Float64 throughout, whatever Real is: a token must not depend on the precision of the
// arithmetic behind it.
struct Row {
  std::vector<double> z;       // log of p_v / p_max
  std::vector<double> weight;  // p_v / p_max
  int64_t best;                // the lowest id among equals

  template <class Real>
  Row(const Real* logits, int64_t V, int64_t b, double temperature) : z(V), weight(V) {
    const auto not_a_number = std::find_if(logits, logits + V, [](Real x) { return std::isnan(x); });
    HF_CHECK(not_a_number == logits + V, ErrorCode::kInvalidArg, "sample_token: logits[%lld, %lld] is NaN",
             (long long)b, (long long)(not_a_number - logits));
    best = std::max_element(logits, logits + V) - logits;
    HF_CHECK(std::isfinite(logits[best]), ErrorCode::kInvalidArg,
             "sample_token: the largest logit of row %lld must be finite, got %g", (long long)b,
             double(logits[best]));
    for (int64_t v = 0; v < V; ++v) {
      z[v] = (double(logits[v]) - double(logits[best])) / temperature;
      weight[v] = std::exp(z[v]);
    }
  }

  double total(const std::vector<int64_t>& ids) const {
    double sum = 0;
    for (int64_t v : ids)
      sum += weight[v];
    return sum;
  }
};

std::vector<int64_t> all_ids(int64_t V) {
  std::vector<int64_t> ids(V);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// The ids that the restrictions keep, one restriction after the other, in ascending order.
template <class Real>
std::vector<int64_t> kept_ids(const SampleTokenArgs& a, const Row& row, const Real* logits) {
  const int64_t V = a.logits.shape[1];
  std::vector<int64_t> kept = all_ids(V);
  std::stable_sort(kept.begin(), kept.end(), [&](int64_t i, int64_t j) { return logits[i] > logits[j]; });
  if (a.top_k > 0 && a.top_k < V) kept.resize(a.top_k);
  if (a.top_p < 1) {
    const double enough = a.top_p * row.total(kept);
    double sum = 0;
    size_t count = 0;
    while (count < kept.size() && sum < enough)
      sum += row.weight[kept[count++]];
    kept.resize(count);
  }
  if (a.min_p > 0) {
    const double floor = std::log(a.min_p);
    const auto unlikely = [&](int64_t v) { return row.z[v] < floor; };
    kept.erase(std::find_if(kept.begin(), kept.end(), unlikely), kept.end());
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

// The first id with which the sum of weights exceeds target.
int64_t invert(const Row& row, const std::vector<int64_t>& kept, double target) {
  int64_t token = row.best;
  double sum = 0;
  for (int64_t v : kept) {
    if (row.weight[v] > 0) token = v;  // the last possible one should rounding keep the sum below the target
    sum += row.weight[v];
    if (sum > target) break;
  }
  return token;
}

}  // namespace

template <class Real>
void run(const SampleTokenArgs& a, Run&) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1];
  for (int64_t b = 0; b < B; ++b) {
    const Real* logits = a.logits.as<Real>() + b * a.logits.stride[0];
    const Row row(logits, V, b, a.temperature == 0 ? 1 : a.temperature);
    const std::vector<int64_t> kept = a.temperature == 0 ? all_ids(V) : kept_ids(a, row, logits);
    const double total = row.total(kept);
    int64_t token = row.best;
    if (a.temperature > 0) {
      const uint64_t sample = static_cast<uint32_t>(a.streams.as<int32_t>()[b]);
      const uint64_t counter = static_cast<uint32_t>(a.counters.as<int32_t>()[b]);
      const double u = philox_uniform(static_cast<uint64_t>(a.seed),
                                      static_cast<uint64_t>(a.first_stream) + sample, counter);
      token = invert(row, kept, u * total);
    }
    a.tokens.as<int32_t>()[b] = static_cast<int32_t>(token);
    a.logps.as<Real>()[b] = static_cast<Real>(row.z[token] - std::log(total));
  }
}

HF_REFERENCE(SampleTokenArgs)

}  // namespace hf::reference
