// Gradient pairs of functions in three normal forms, from which every NTK sink works:
//   matrix    W (O,I) met as y = a Wᵀ + b: rows (a_n, d_n)
//   elements  a gain, bias or other elementwise parameter: the functions' gradients (F,C) themselves
//   table     an embedding or position table: rows d_n that go to table row ids_n
#pragma once

#include "ntk/functions.h"

namespace hf {

// (count+1) i32 in the arena: function s owns row s.
View identity_offsets(int64_t count, Run& run);

struct MatrixPair {
  View a, d;
  GradientRows rows;
};

class PairSink : public FunctionSink {
 public:
  PairSink(const FunctionBlock& block, std::vector<bool> wanted)
      : block_(block), run_(block.run), wanted_(std::move(wanted)) {}
  using GradientSink::wants;
  bool wants(int parameter) const override { return wanted_[parameter]; }

  virtual void matrix(const Linear& linear, const MatrixPair& pair) = 0;
  virtual void elements(int parameter, const View& gradients) = 0;
  virtual void table(int parameter, const View& ids, const View& d, const View& offsets) = 0;

  void linear(const Linear& linear, const View& a, const View& d, const GradientRows& rows) final {
    matrix(linear, {a, d, rows});
  }
  void norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) final;
  void head_norm(int gain, const View& x_hat, const View& d, int64_t heads, const GradientRows& rows) final;
  void gather(int parameter, const View& ids, const View& d, const GradientRows& rows) final {
    table(parameter, ids, d, rows.offsets);
  }

 protected:
  // Σ over each function's rows of d (∘ scale_by), (F, C), in the arena.
  View function_sums(const View& d, const View& scale_by, const View& offsets);

  const FunctionBlock& block_;
  Run& run_;
  std::vector<bool> wanted_;
};

}  // namespace hf
