// The next-token distribution at one state, before and after a step, and how well its change was predicted.
// Everything is over one vocabulary, (V) doubles, in nats, at temperature 1:
//   log π = z − log Σ_v e^{z_v}
//   Δ log π ≈ T_s Δz,  T_s = I − 1 πᵀ     (the derivative of log-softmax; A. Tomihari, arXiv 2601.04670)
//   H = −Σ_v π_v log π_v,  dH = −Σ_v π_v log π_v · d log π_v, because dH = −Σ dπ (log π + 1) and Σ dπ = 0
#pragma once

#include <cstdint>
#include <vector>

namespace hf {

using Vocabulary = std::vector<double>;

Vocabulary log_softmax(const double* logits, int64_t V);
// T_s Δz
Vocabulary centred(const double* moved_logits, const Vocabulary& probabilities);
double entropy(const Vocabulary& log_policy);
// The lowest of the largest entries' indices.
int64_t largest(const Vocabulary& values);
double dot(const Vocabulary& a, const Vocabulary& b);

// How well a prediction matches a measurement.
struct Accuracy {
  double relative_error;  // ‖predicted − measured‖ / ‖measured‖; 0 when both are 0
  double r2;              // 1 − residual / variance of what was measured
  double sign_agreement;  // share of entries with the same sign
};

// The sums that an Accuracy is made of: those of single states add up to those of all.
class Match {
 public:
  Match() = default;
  Match(const Vocabulary& predicted, const Vocabulary& measured);
  void add(const Match& other);
  Accuracy accuracy() const;

 private:
  double residual_ = 0, squares_ = 0, sum_ = 0, signs_ = 0, count_ = 0;
};

}  // namespace hf
