#include "analysis/influences.h"

#include <algorithm>
#include <numeric>

namespace hf {
namespace {

// log π(target | prefix) for every prefix, by row as Functions wants them; order[f] is function f's prefix.
Functions target_functions(const Prefixes& prefixes, const std::vector<int64_t>& targets,
                           const std::vector<int64_t>& order) {
  const Sequences& sequences = prefixes.sequences;
  Functions functions;
  functions.ids.assign(sequences.ids, sequences.ids + sequences.tokens());
  functions.offsets.assign(sequences.offsets, sequences.offsets + sequences.count + 1);
  functions.term_offsets.push_back(0);
  int32_t sequence = 0;
  for (int64_t prefix : order) {
    const int32_t row = prefixes.rows[prefix];
    while (row >= sequences.offsets[sequence + 1])
      ++sequence;
    functions.sequence.push_back(sequence);
    functions.rows.push_back(row);
    functions.targets.push_back(int32_t(targets[prefix]));
    functions.term_offsets.push_back(int32_t(functions.rows.size()));
  }
  return functions;
}

// factors[i] · kernel[f, i], rows in the prefixes' order.
std::vector<double> contributions(const double* kernel, const std::vector<double>& factors,
                                  const std::vector<int64_t>& order) {
  const size_t N = factors.size();
  std::vector<double> result(order.size() * N);
  for (size_t f = 0; f < order.size(); ++f)
    for (size_t i = 0; i < N; ++i)
      result[size_t(order[f]) * N + i] = factors[i] * kernel[f * N + i];
  return result;
}

}  // namespace

Influences influences(const Model& model, const Prefixes& prefixes, const std::vector<int64_t>& targets,
                      const InfluenceOptions& options, const std::vector<double>& factors, Run& run) {
  std::vector<int64_t> order(prefixes.rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t p, int64_t q) { return prefixes.rows[p] < prefixes.rows[q]; });
  const Functions probes = target_functions(prefixes, targets, order);
  const GramOptions how{
      .implementation = Implementation::kStructuredDerivatives,
      .split = Split::kComponents,
      .wanted = model.trainable(),
      .max_bytes = options.max_bytes,
  };
  const int64_t n = probes.count();
  const int64_t N = options.samples.count();
  std::vector<double> kernels(size_t(3 * n * N));
  const GramPlan plan = plan_gram(model, probes, &options.samples, how);
  gram(model, probes, &options.samples, how, plan, make_view(kernels.data(), DType::kF64, 3, n, N), run);
  return {
      .representation = contributions(kernels.data(), factors, order),
      .gradient = contributions(kernels.data() + n * N, factors, order),
      .cross = contributions(kernels.data() + 2 * n * N, factors, order),
  };
}

}  // namespace hf
