#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backends/reference/reference.h"
#include "core/philox.h"

namespace hf::reference {

// Float64 throughout, whatever Real is: a token must not depend on the precision of the arithmetic behind it.
template <class Real>
void run(const SampleTokenArgs& a, Run&) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1];
  const double temperature = a.temperature == 0 ? 1 : a.temperature;
  for (int64_t b = 0; b < B; ++b) {
    const Real* logits = a.logits.as<Real>() + b * a.logits.stride[0];
    const auto not_a_number = std::find_if(logits, logits + V, [](Real z) { return std::isnan(z); });
    HF_CHECK(not_a_number == logits + V, ErrorCode::kInvalidArg, "sample_token: logits[%lld, %lld] is NaN",
             (long long)b, (long long)(not_a_number - logits));
    const int64_t best = std::max_element(logits, logits + V) - logits;  // the lowest id among equals
    HF_CHECK(std::isfinite(logits[best]), ErrorCode::kInvalidArg,
             "sample_token: the largest logit of row %lld must be finite, got %g", (long long)b,
             double(logits[best]));

    std::vector<double> z(V), weight(V);  // log and value of p_v / p_max
    for (int64_t v = 0; v < V; ++v) {
      z[v] = (double(logits[v]) - double(logits[best])) / temperature;
      weight[v] = std::exp(z[v]);
    }
    const auto total = [&](const std::vector<int64_t>& ids) {
      double sum = 0;
      for (int64_t v : ids)
        sum += weight[v];
      return sum;
    };

    // The tokens from the most to the least likely, then the restrictions one after the other.
    std::vector<int64_t> kept(V);
    std::iota(kept.begin(), kept.end(), 0);
    int64_t token = best;
    if (a.temperature > 0) {
      std::stable_sort(kept.begin(), kept.end(), [&](int64_t i, int64_t j) { return logits[i] > logits[j]; });
      if (a.top_k > 0 && a.top_k < V) kept.resize(a.top_k);
      if (a.top_p < 1) {
        const double enough = a.top_p * total(kept);
        double sum = 0;
        size_t count = 0;
        while (count < kept.size() && sum < enough)
          sum += weight[kept[count++]];
        kept.resize(count);
      }
      if (a.min_p > 0)
        kept.erase(
            std::find_if(kept.begin(), kept.end(), [&](int64_t v) { return z[v] < std::log(a.min_p); }),
            kept.end());

      std::sort(kept.begin(), kept.end());
      const double u = philox_uniform(
          static_cast<uint64_t>(a.seed),
          static_cast<uint64_t>(a.first_stream) + static_cast<uint32_t>(a.streams.as<int32_t>()[b]),
          static_cast<uint32_t>(a.counters.as<int32_t>()[b]));
      const double target = u * total(kept);
      double sum = 0;
      for (int64_t v : kept) {
        if (weight[v] > 0) token = v;  // the last possible one should rounding keep the sum below the target
        sum += weight[v];
        if (sum > target) break;
      }
    }
    a.tokens.as<int32_t>()[b] = static_cast<int32_t>(token);
    a.logps.as<Real>()[b] = static_cast<Real>(z[token] - std::log(total(kept)));
  }
}

HF_REFERENCE(SampleTokenArgs)

}  // namespace hf::reference
