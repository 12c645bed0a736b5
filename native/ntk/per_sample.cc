#include "ntk/per_sample.h"

#include "ops/op_table.h"

namespace hf {
namespace {

// (S, X, Y) seen as (S, Y, X).
View swap_last(View view) {
  std::swap(view.shape[1], view.shape[2]);
  std::swap(view.stride[1], view.stride[2]);
  return view;
}

class PerSampleSink : public PairSink {
 public:
  PerSampleSink(const FunctionBlock& block, const std::vector<bool>& wanted, const View& gradients)
      : PairSink(block, wanted), layout_(block.model, wanted), gradients_(gradients) {}

  void classifier(const View& hidden, const View& g, int64_t first_id, const View& offsets) override {
    const int64_t C = hidden.shape[1];
    add(columns(block_.model.classifier(), first_id * C, g.shape[1], C), hidden, g, {offsets, View{}});
  }

  void matrix(const Linear& linear, const MatrixPair& pair) override {
    const int64_t in = pair.a.shape[1];
    for (const LinearPart& part : linear.parts) {
      const View d = pair.d.slice(1, part.begin, part.count);
      if (wants(part.weight)) {
        const View target = linear.transposed ? swap_last(columns(part.weight, 0, in, part.count))
                                              : columns(part.weight, 0, part.count, in);
        add(target, pair.a, d, pair.rows);
      }
      if (part.bias >= 0 && wants(part.bias)) {
        Scratch scratch(run_);
        elements(part.bias, function_sums(d, View{}, pair.rows.offsets));
      }
    }
  }

  void elements(int parameter, const View& sums) override {
    copy_rows(sums, gradients_.slice(1, layout_.begin[parameter], sums.shape[1]), run_);
  }

  void table(int parameter, const View& ids, const View& d, const View& offsets) override {
    const std::vector<int64_t>& shape = block_.model.parameters()[parameter].spec.shape;
    const View all = columns(parameter, 0, shape[0], shape[1]);
    const int32_t* o = offsets.as<int32_t>();
    for (int64_t s = 0; s + 1 < offsets.shape[0]; ++s) {
      const View table = all.slice(0, s, 1);
      scatter_rows(d.slice(0, o[s], o[s + 1] - o[s]), ids.slice(0, o[s], o[s + 1] - o[s]),
                   make_view(table.data, table.dtype, shape[0], shape[1]), run_);
    }
  }

 private:
  // Columns of the result that hold `rows` × `width` numbers of a parameter from element `from`, as (F, rows,
  // width).
  View columns(int parameter, int64_t from, int64_t rows, int64_t width) const {
    return gradients_.slice(1, layout_.begin[parameter] + from, rows * width).split_last(rows);
  }
  // target[s] += Σ of d ⊗ a over function s's rows.
  void add(const View& target, const View& a, const View& d, const GradientRows& rows) {
    dispatch(
        PerSampleLinearArgs{
            .a = a,
            .d = d,
            .offsets = rows.offsets,
            .a_rows = rows.a_rows,
            .gradients = target,
            .accumulate = true,
        },
        run_);
  }

  const GradientLayout layout_;
  const View gradients_;
};

}  // namespace

GradientLayout::GradientLayout(const Model& model, const std::vector<bool>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    begin.push_back(wanted[i] ? width : -1);
    if (wanted[i]) width += model.parameters()[i].size;
  }
}

void per_sample_gradients(const FunctionBlock& block, const std::vector<bool>& wanted,
                          const View& gradients) {
  for (int64_t s = 0; s < gradients.shape[0]; ++s)
    set_zero(block.run, gradients.slice(0, s, 1));
  PerSampleSink sink(block, wanted, gradients);
  block.gradients(sink);
}

}  // namespace hf
