// What to do with gradients. The backward pass meets every parameter as a pair of things per row: what went
// in and the gradient of what came out. A sink decides what becomes of the pair: accumulate the weight
// gradient (training), a Gram matrix, per-sample norms or gradients, a sketch. One backward pass, many
// consumers.
#pragma once

#include "model/model.h"

namespace hf {

// How rows of gradients are owned. `offsets` (S+1): function s owns rows offsets[s] … offsets[s+1] − 1 of d.
// `a_rows`: the row of a that belongs to each row of d, when functions share a forward pass; absent: row n
// has row n (ops/gram/gradient_pairs.h).
struct GradientRows {
  View offsets, a_rows;
};

class GradientSink {
 public:
  virtual ~GradientSink() = default;
  // False lets the backward pass leave out work, down to not running through layers below the last wanted
  // parameter.
  virtual bool wants(int parameter) const = 0;
  bool wants(const Linear& linear) const {
    for (const LinearPart& part : linear.parts)
      if (wants(part.weight) || (part.bias >= 0 && wants(part.bias))) return true;
    return false;
  }
  // y = a Wᵀ + b:  dW = dᵀ a, db = Σ_n d.  d (N, out), a (M, in) with rows.a_rows, else (N, in). Only this pair shares rows of a.
  // a stays with the activations, unless linear.passing_input.
  virtual void linear(const Linear& linear, const View& a, const View& d, const GradientRows& rows) = 0;
  // y = gain ∘ x̂ (+ bias):  d_gain = Σ_n x̂ ∘ d, d_bias = Σ_n d.  x_hat (N, C) is absent when the gain is not wanted.
  virtual void norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) = 0;
  // The same gain for every head of a token (q/k norms): rows are (N·H, D) and belong to token row / H.
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
  void linear(const Linear& linear, const View& a, const View& d, const GradientRows& rows) override;
  void norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) override;
  void head_norm(int gain, const View& x_hat, const View& d, int64_t heads,
                 const GradientRows& rows) override;
  void gather(int table, const View& ids, const View& d, const GradientRows& rows) override;
  View gradient(int parameter) const { return model_.view_in(gradients_, parameter); }

 private:
  void weight(const Linear& linear, const LinearPart& first, int64_t columns, const View& a, const View& d);

  const Model& model_;
  Run& run_;
  View gradients_;
  std::vector<bool> wanted_;
};

}  // namespace hf
