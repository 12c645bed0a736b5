#include "ntk/products.h"

#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// A SumSink for blocks of functions: takes the classifier's slices too, and gathers the rows of a that
// functions share.
class FunctionSumSink : public FunctionSink {
 public:
  FunctionSumSink(const FunctionBlock& block, const View& gradient, const std::vector<bool>& wanted)
      : block_(block), sum_(block.model, gradient, wanted, block.run) {}
  using GradientSink::wants;
  bool wants(int parameter) const override { return sum_.wants(parameter); }

  void classifier(const View& hidden, const View& g, int64_t first_id, const View&) override {
    dispatch(
        GemmArgs{
            .a = g.transposed(),
            .b = hidden,
            .c = sum_.gradient(block_.model.classifier()).slice(0, first_id, g.shape[1]),
            .accumulate = true,
        },
        block_.run);
  }
  void linear(const Linear& linear, const View& a, const View& d, const GradientRows& rows) override {
    Scratch scratch(block_.run);
    sum_.linear(linear, rows.a_rows ? gather_rows(a, rows.a_rows, block_.run) : a, d, rows);
  }
  void norm(const NormWeights& norm, const View& x_hat, const View& d, const GradientRows& rows) override {
    sum_.norm(norm, x_hat, d, rows);
  }
  void head_norm(int gain, const View& x_hat, const View& d, int64_t heads,
                 const GradientRows& rows) override {
    sum_.head_norm(gain, x_hat, d, heads, rows);
  }
  void gather(int table, const View& ids, const View& d, const GradientRows& rows) override {
    sum_.gather(table, ids, d, rows);
  }

 private:
  const FunctionBlock& block_;
  SumSink sum_;
};

}  // namespace

void add_gradients(const FunctionBlock& block, const std::vector<bool>& wanted, const View& gradient) {
  FunctionSumSink sink(block, gradient, wanted);
  block.gradients(sink);
}

void vector_product(const Model& model, const Functions& first, const Functions& second, const View& v,
                    const std::vector<bool>& wanted, int64_t max_bytes, const View& out, Run& run) {
  const View gradient = arena_tensor(run, run.real(), model.size());
  set_zero(run, gradient);
  int64_t bytes;
  for (const FunctionRange range : plan_blocks(model, second, max_bytes, 0, 0, &bytes)) {
    checkpoint(run);
    Scratch scratch(run);
    FunctionBlock block(model, second, range, run);
    block.scale(v.slice(0, range.begin, range.count()));
    add_gradients(block, wanted, gradient);
  }
  linear_model(model, first, gradient, max_bytes, View{}, out, run);
}

void linear_model(const Model& model, const Functions& functions, const View& tangent, int64_t max_bytes,
                  const View& values, const View& derivatives, Run& run) {
  int64_t bytes;
  for (const FunctionRange range : plan_blocks(model, functions, max_bytes, 0, 0, &bytes)) {
    checkpoint(run);
    Scratch scratch(run);
    const FunctionBlock block(model, functions, range, run);
    if (values) block.values(values.slice(0, range.begin, range.count()));
    if (derivatives) block.directional(tangent, derivatives.slice(0, range.begin, range.count()));
  }
}

}  // namespace hf
