#include "analysis/log_policy.h"

#include <algorithm>
#include <cmath>

namespace hf {
namespace {

bool same_sign(double a, double b) {
  return (a > 0 && b > 0) || (a < 0 && b < 0) || (a == 0 && b == 0);
}

}  // namespace

Vocabulary log_softmax(const double* logits, int64_t V) {
  const double most = *std::max_element(logits, logits + V);
  double sum = 0;
  for (int64_t v = 0; v < V; ++v)
    sum += std::exp(logits[v] - most);
  const double shift = most + std::log(sum);
  Vocabulary log_policy(static_cast<size_t>(V));
  for (int64_t v = 0; v < V; ++v)
    log_policy[v] = logits[v] - shift;
  return log_policy;
}

Vocabulary centred(const double* moved_logits, const Vocabulary& probabilities) {
  double mean = 0;
  for (size_t v = 0; v < probabilities.size(); ++v)
    mean += probabilities[v] * moved_logits[v];
  Vocabulary change(probabilities.size());
  for (size_t v = 0; v < change.size(); ++v)
    change[v] = moved_logits[v] - mean;
  return change;
}

double entropy(const Vocabulary& log_policy) {
  double entropy = 0;
  for (double logp : log_policy)
    if (logp != -INFINITY) entropy -= std::exp(logp) * logp;
  return entropy;
}

int64_t largest(const Vocabulary& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

double dot(const Vocabulary& a, const Vocabulary& b) {
  double sum = 0;
  for (size_t v = 0; v < a.size(); ++v)
    sum += a[v] * b[v];
  return sum;
}

Match::Match(const Vocabulary& predicted, const Vocabulary& measured) : count_(double(predicted.size())) {
  for (size_t v = 0; v < predicted.size(); ++v) {
    const double error = predicted[v] - measured[v];
    residual_ += error * error;
    squares_ += measured[v] * measured[v];
    sum_ += measured[v];
    signs_ += same_sign(predicted[v], measured[v]);
  }
}

void Match::add(const Match& other) {
  residual_ += other.residual_;
  squares_ += other.squares_;
  sum_ += other.sum_;
  signs_ += other.signs_;
  count_ += other.count_;
}

Accuracy Match::accuracy() const {
  const double variance = squares_ - sum_ * sum_ / count_;
  const bool exact = residual_ == 0;
  return {
      .relative_error = exact ? 0 : std::sqrt(residual_ / squares_),
      .r2 = exact ? 1 : 1 - residual_ / variance,
      .sign_agreement = signs_ / count_,
  };
}

}  // namespace hf
