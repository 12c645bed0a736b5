// What a Gram call costs, from the same cost() that execution chooses by. Matrix products only: norms,
// activations and copies are a few per cent of them.
#include <algorithm>

#include "ntk/gram.h"
#include "ntk/per_sample.h"
#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// Shapes of one block's gradient pairs, without numbers.
struct Shapes {
  std::vector<int32_t> row_offsets{0}, term_offsets{0};  // (F+1) gradient rows, classifier rows
  double pass_flops = 0;                                 // forward and backward
  int64_t rows() const { return row_offsets.back(); }
  int64_t terms() const { return term_offsets.back(); }
  static View offsets(const std::vector<int32_t>& v) {
    return make_view(const_cast<int32_t*>(v.data()), DType::kI32, int64_t(v.size()));
  }
};

// cost() reads shapes and offsets; a view that is there must have an address.
View shaped(int64_t rows, int64_t columns) {
  static char address;
  return make_view(&address, DType::kF32, rows, columns);
}

double body_weights(const Model& model) {
  double weights = 0;
  const auto add = [&](const Linear& linear) {
    weights += double(linear.out()) * double(linear.in());
    for (const Adapter& adapter : linear.adapters)
      weights += double(adapter.down.in() + adapter.up.out()) * double(adapter.down.out());
  };
  for (int64_t l = 0; l < model.spec().layers; ++l) {
    const LayerWeights& w = model.layer(int(l));
    for (const std::vector<Linear>* several : {&w.qkv, &w.mlp_in})
      for (const Linear& linear : *several)
        add(linear);
    for (const Linear* one : {&w.attention_out, &w.mlp_down})
      add(*one);
  }
  return weights;
}

Shapes shapes_of(const Model& model, const Functions& functions, FunctionRange range) {
  const ModelSpec& s = model.spec();
  Shapes shapes;
  double backward_pairs = 0, forward_pairs = 0;
  const auto triangle = [](double t) { return t * (t + 1) / 2; };
  for (int64_t f = range.begin; f < range.end; ++f) {
    shapes.row_offsets.push_back(shapes.row_offsets.back() + int32_t(functions.length(f)));
    shapes.term_offsets.push_back(shapes.term_offsets.back() + functions.term_offsets[f + 1] -
                                  functions.term_offsets[f]);
    backward_pairs += triangle(double(functions.length(f)));
  }
  if (range.begin < range.end)
    for (int32_t q = functions.sequence[range.begin]; q <= functions.sequence[range.end - 1]; ++q)
      forward_pairs += triangle(functions.offsets[q + 1] - functions.offsets[q]);
  const double weights = body_weights(model), attention = double(s.layers) * s.heads * s.head_dim;
  // Logits, their gradient by the features, and the logits once more for the classifier's pairs.
  const double head = 6.0 * shapes.terms() * double(s.vocab_size) * s.hidden_size;
  shapes.pass_flops = 2 * weights * (activation_rows(functions, range) + shapes.rows()) +
                      attention * (4 * forward_pairs + 10 * backward_pairs) + head;
  return shapes;
}

class Costs {
 public:
  Costs(const Model& model, const GramOptions& options, GramPlan& plan)
      : model_(model), options_(options), plan_(plan) {}

  // Everything that GramSink multiplies for one pair of blocks; second = null: the block with itself.
  void contract(const Shapes& first, const Shapes* second) {
    const auto wants = [this](int parameter) { return options_.wanted[parameter]; };
    if (wants(model_.classifier()))
      pair(model_.classifier(), model_.spec().hidden_size, model_.spec().vocab_size, first.term_offsets,
           second ? &second->term_offsets : nullptr);
    for (int64_t l = 0; l < model_.spec().layers; ++l) {
      const LayerWeights& w = model_.layer(int(l));
      for (const Linear& linear : w.qkv)
        this->linear(linear, first, second);
      this->linear(w.attention_out, first, second);
      for (const Linear& linear : w.mlp_in)
        this->linear(linear, first, second);
      this->linear(w.mlp_down, first, second);
    }
  }
  // One entry per matrix; when blocks differ, the form that does more of it.
  void finish() {
    for (const auto& [parameter, ghost, blocked] : matrices_)
      plan_.choices.push_back({parameter, ghost >= blocked, ghost + blocked});
  }

 private:
  struct Matrix {
    int parameter;
    double ghost, blocked;  // flops done in either form
  };

  void linear(const Linear& l, const Shapes& first, const Shapes* second) {
    bool together = options_.split != Split::kParameters;
    for (const LinearPart& part : l.parts)
      together = together && options_.wanted[part.weight];
    const auto add = [&](int parameter, int64_t out) {
      pair(parameter, l.in(), out, first.row_offsets, second ? &second->row_offsets : nullptr);
    };
    if (together) {
      add(l.parts.front().weight, l.out());
    } else {
      for (const LinearPart& part : l.parts)
        if (options_.wanted[part.weight]) add(part.weight, part.count);
    }
    for (const Adapter& adapter : l.adapters)
      linear(adapter.down, first, second), linear(adapter.up, first, second);
  }

  void pair(int parameter, int64_t in, int64_t out, const std::vector<int32_t>& offsets,
            const std::vector<int32_t>* offsets2) {
    TokenGramArgs ghost;
    ghost.a = shaped(offsets.back(), in), ghost.d = shaped(offsets.back(), out),
    ghost.offsets = Shapes::offsets(offsets);
    if (offsets2)
      ghost.a2 = shaped(offsets2->back(), in), ghost.d2 = shaped(offsets2->back(), out),
      ghost.offsets2 = Shapes::offsets(*offsets2);
    JacobianGramArgs blocked;
    blocked.a = ghost.a, blocked.d = ghost.d, blocked.offsets = ghost.offsets;
    blocked.a2 = ghost.a2, blocked.d2 = ghost.d2, blocked.offsets2 = ghost.offsets2;
    const bool is_ghost = ghost_is_cheaper(ghost, blocked);
    const double flops = is_ghost ? cost(ghost).flops : cost(blocked).flops;
    plan_.flops += flops;
    auto matrix = std::find_if(matrices_.begin(), matrices_.end(),
                               [&](const Matrix& m) { return m.parameter == parameter; });
    if (matrix == matrices_.end()) matrix = matrices_.insert(matrices_.end(), {parameter, 0, 0});
    (is_ghost ? matrix->ghost : matrix->blocked) += flops;
  }

  const Model& model_;
  const GramOptions& options_;
  GramPlan& plan_;
  std::vector<Matrix> matrices_;
};

}  // namespace

void add_costs(const Model& model, const Functions& first, const Functions* second,
               const GramOptions& options, GramPlan& plan) {
  const Functions& columns = second ? *second : first;
  const auto all = [&](const Functions& functions, const std::vector<FunctionRange>& ranges) {
    std::vector<Shapes> shapes;
    for (const FunctionRange range : ranges)
      shapes.push_back(shapes_of(model, functions, range));
    return shapes;
  };
  const std::vector<Shapes> rows = all(first, plan.blocks1),
                            others = second ? all(columns, plan.blocks2) : std::vector<Shapes>();
  const std::vector<Shapes>& right = second ? others : rows;
  if (options.implementation == Implementation::kNtkVectorProducts) {
    // A column each: one function's passes, and a forward and a forward-mode pass over the rows.
    for (int64_t f = 0; f < columns.count(); ++f)
      plan.pass_flops += shapes_of(model, columns, {f, f + 1}).pass_flops;
    for (const Shapes& block : rows)
      plan.pass_flops += double(columns.count()) * 1.5 * block.pass_flops;
    plan.flops = plan.pass_flops;
    return;
  }
  if (options.implementation == Implementation::kJacobianContraction) {
    const double width = double(GradientLayout(model, options.wanted).width), F1 = double(first.count()),
                 F2 = double(columns.count());
    for (size_t i = 0; i < rows.size(); ++i) {
      plan.pass_flops += 1.5 * rows[i].pass_flops;
      for (size_t j = second ? 0 : i + 1; j < right.size(); ++j)
        plan.pass_flops += 1.5 * right[j].pass_flops;
    }
    plan.flops = plan.pass_flops + (second ? 2 * F1 * F2 : F1 * (F1 + 1)) * width;
    return;
  }
  Costs costs(model, options, plan);
  for (size_t i = 0; i < rows.size(); ++i) {
    plan.pass_flops += rows[i].pass_flops;
    if (!second) costs.contract(rows[i], nullptr);
    for (size_t j = second ? 0 : i + 1; j < right.size(); ++j) {
      plan.pass_flops += right[j].pass_flops;
      costs.contract(rows[i], &right[j]);
    }
  }
  plan.flops += plan.pass_flops;
  costs.finish();
}

}  // namespace hf
