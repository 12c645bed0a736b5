// Gradient sinks: what becomes of gradients.
//
// The backward pass meets every parameter as a pair of things per row: what went in, and the gradient of what
// came out. A sink decides what becomes of the pair: it is added to the weight's gradient (training), or goes
// into a Gram matrix, per-sample norms or gradients, or a sketch. There is one backward pass and many
// consumers.
#pragma once

#include "model/model.h"

namespace hf {

// Which rows of d belong to which function. A *function* is a scalar of the model's outputs whose gradient is
// wanted: a sample's log-probability, or one logit. In training all rows belong to one loss, and sinks that
// sum need not look.
struct GradientRows {
  // (S+1) i32: function s owns rows offsets[s] … offsets[s+1] − 1 of d.
  View offsets;
  // (N) i32: the row of a that belongs to each row of d, when functions share a forward pass. Absent: row n
  // has row n (ops/gram/gradient_pairs.h).
  View a_rows;
};

class GradientSink {
 public:
  virtual ~GradientSink() = default;

  // False lets the backward pass leave out work, down to not running through layers below the last wanted
  // parameter.
  virtual bool wants(int parameter) const = 0;
  // Whether any of the layer's parameters is wanted.
  bool wants(const Linear& linear) const;

  // y = a Wᵀ + b:  dW = dᵀ a, db = Σ_n d.  d (N, out); a (M, in) with rows.a_rows, else (N, in). Only this pair shares
  // rows of a. a stays with the activations, unless linear.passing_input.
  virtual void linear(const Linear& linear, const View& a, const View& d, const GradientRows& rows) = 0;
  // y = gain ∘ x̂ (+ bias):  d_gain = Σ_n x̂ ∘ d, d_bias = Σ_n d.  x_hat (N, C) is absent when the gain is not wanted.
  virtual void norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) = 0;
  // The same gain for every head of a token (the norms of q and k): rows are (N · H, D) and belong to token
  // row / H.
  virtual void head_norm(int gain, const View& x_hat, const View& d, int64_t heads,
                         const GradientRows& rows) = 0;
  // y = table[ids]:  d_table[ids[n]] += d[n].
  virtual void gather(int table, const View& ids, const View& d, const GradientRows& rows) = 0;
};

// Adds the gradients of all rows to a flat vector in the model's layout (P), for wanted parameters: the
// model's own gradients and its trainable parameters, or any.
class SumSink : public GradientSink {
 public:
  SumSink(const Model& model, const View& gradients, std::vector<bool> wanted, Run& run)
      : model_(model), run_(run), gradients_(gradients), wanted_(std::move(wanted)) {}
  using GradientSink::wants;
  bool wants(int parameter) const override { return wanted_[parameter]; }
  View gradient(int parameter) const { return model_.view_in(gradients_, parameter); }

  void linear(const Linear& linear, const View& a, const View& d, const GradientRows& rows) override;
  void norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) override;
  void head_norm(int gain, const View& x_hat, const View& d, int64_t heads,
                 const GradientRows& rows) override;
  void gather(int table, const View& ids, const View& d, const GradientRows& rows) override;

 private:
  void add_weight(const Linear& linear, const LinearPart& first, int64_t columns, const View& a,
                  const View& d);
  void add_rows(const View& d, const View& scale_by, int parameter);

  const Model& model_;
  Run& run_;
  View gradients_;
  std::vector<bool> wanted_;
};

}  // namespace hf
