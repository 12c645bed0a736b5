// What a Gram call costs, from the same cost() that execution chooses by. Matrix products only: norms,
// activations and copies are a few per cent of them.
#include <algorithm>

#include "ntk/per_sample.h"
#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// Shapes of one block's gradient pairs, without numbers.
struct Shapes {
  std::vector<int32_t> row_offsets{0};   // (F+1) gradient rows of the functions
  std::vector<int32_t> term_offsets{0};  // (F+1) their rows at the classifier
  double pass_flops = 0;                 // forward and backward

  int64_t rows() const { return row_offsets.back(); }
  int64_t terms() const { return term_offsets.back(); }
};

// cost() reads shapes and offsets; a view that is there must have an address.
View shaped(int64_t rows, int64_t columns) {
  static char address;
  return make_view(&address, DType::kF32, rows, columns);
}
View offsets_view(const std::vector<int32_t>& offsets) {
  return make_view(const_cast<int32_t*>(offsets.data()), DType::kI32, int64_t(offsets.size()));
}

// Weights that a row is multiplied by on its way through the layers.
double body_weights(const Model& model) {
  double weights = 0;
  for (int l = 0; l < model.spec().layers; ++l)
    for_each_linear(model.layer(l), [&](const Linear& linear) {
      weights += double(linear.out()) * double(linear.in());
      for (const Adapter& adapter : linear.adapters)
        weights += double(adapter.down.in() + adapter.up.out()) * double(adapter.down.out());
    });
  return weights;
}

// Pairs of rows, of a sequence with t, that attention multiplies.
double causal_pairs(double t) {
  return t * (t + 1) / 2;
}

Shapes shapes_of(const Model& model, const Functions& functions, FunctionRange range) {
  const ModelSpec& spec = model.spec();
  Shapes shapes;
  double backward_pairs = 0, forward_pairs = 0;
  for (int64_t f = range.begin; f < range.end; ++f) {
    const int32_t terms = functions.term_offsets[f + 1] - functions.term_offsets[f];
    shapes.row_offsets.push_back(shapes.row_offsets.back() + int32_t(functions.length(f)));
    shapes.term_offsets.push_back(shapes.term_offsets.back() + terms);
    backward_pairs += causal_pairs(double(functions.length(f)));
  }
  if (range.begin < range.end)
    for (int32_t q = functions.sequence[range.begin]; q <= functions.sequence[range.end - 1]; ++q)
      forward_pairs += causal_pairs(functions.offsets[q + 1] - functions.offsets[q]);
  const double linears = 2 * body_weights(model) * (activation_rows(functions, range) + shapes.rows());
  const double attention = double(spec.layers) * spec.heads * spec.head_dim;
  // Logits, their gradient by the features, and the logits once more for the classifier's pairs.
  const double head = 6.0 * shapes.terms() * double(spec.vocab_size) * spec.hidden_size;
  shapes.pass_flops = linears + attention * (4 * forward_pairs + 10 * backward_pairs) + head;
  return shapes;
}

std::vector<Shapes> shapes_of(const Model& model, const Functions& functions,
                              const std::vector<FunctionRange>& ranges) {
  std::vector<Shapes> shapes;
  for (const FunctionRange range : ranges)
    shapes.push_back(shapes_of(model, functions, range));
  return shapes;
}

// What GramSink multiplies, block pair by block pair.
class GramCosts {
 public:
  GramCosts(const Model& model, const GramOptions& options, GramPlan& plan)
      : model_(model), options_(options), plan_(plan) {}

  // All of one pair of blocks; second = null: the block with itself.
  void add(const Shapes& first, const Shapes* second) {
    const int classifier = model_.classifier();
    if (options_.wanted[classifier])
      add_product(classifier, model_.spec().hidden_size, model_.spec().vocab_size, first.term_offsets,
                  second ? &second->term_offsets : nullptr);
    for (int l = 0; l < model_.spec().layers; ++l)
      for_each_linear(model_.layer(l), [&](const Linear& linear) { add_linear(linear, first, second); });
  }

  // One entry per matrix; when blocks differ, the form that does more of it.
  void finish() {
    for (const Matrix& matrix : matrices_)
      plan_.choices.push_back({
          .parameter = matrix.parameter,
          .ghost = matrix.ghost >= matrix.blocked,
          .flops = matrix.ghost + matrix.blocked,
      });
  }

 private:
  struct Matrix {
    int parameter;
    double ghost = 0, blocked = 0;  // flops done in either form
  };

  void add_linear(const Linear& linear, const Shapes& first, const Shapes* second) {
    const bool all_wanted =
        std::all_of(linear.parts.begin(), linear.parts.end(),
                    [&](const LinearPart& part) { return bool(options_.wanted[part.weight]); });
    const auto add = [&](int parameter, int64_t out) {
      add_product(parameter, linear.in(), out, first.row_offsets, second ? &second->row_offsets : nullptr);
    };
    if (options_.split != Split::kParameters && all_wanted) {
      add(linear.parts.front().weight, linear.out());
    } else {
      for (const LinearPart& part : linear.parts)
        if (options_.wanted[part.weight]) add(part.weight, part.count);
    }
    for (const Adapter& adapter : linear.adapters) {
      add_linear(adapter.down, first, second);
      add_linear(adapter.up, first, second);
    }
  }

  // Of a matrix (out, in), in the form that execution will choose.
  void add_product(int parameter, int64_t in, int64_t out, const std::vector<int32_t>& offsets,
                   const std::vector<int32_t>* offsets2) {
    TokenGramArgs ghost;
    ghost.a = shaped(offsets.back(), in);
    ghost.d = shaped(offsets.back(), out);
    ghost.offsets = offsets_view(offsets);
    if (offsets2) {
      ghost.a2 = shaped(offsets2->back(), in);
      ghost.d2 = shaped(offsets2->back(), out);
      ghost.offsets2 = offsets_view(*offsets2);
    }
    const JacobianGramArgs blocked{
        .a = ghost.a,
        .d = ghost.d,
        .offsets = ghost.offsets,
        .a2 = ghost.a2,
        .d2 = ghost.d2,
        .offsets2 = ghost.offsets2,
    };
    const bool is_ghost = ghost_is_cheaper(ghost, blocked);
    const double flops = is_ghost ? cost(ghost).flops : cost(blocked).flops;
    plan_.flops += flops;
    Matrix& matrix = matrix_of(parameter);
    (is_ghost ? matrix.ghost : matrix.blocked) += flops;
  }

  Matrix& matrix_of(int parameter) {
    for (Matrix& matrix : matrices_)
      if (matrix.parameter == parameter) return matrix;
    return matrices_.emplace_back(Matrix{.parameter = parameter});
  }

  const Model& model_;
  const GramOptions& options_;
  GramPlan& plan_;
  std::vector<Matrix> matrices_;
};

}  // namespace

void add_costs(const Model& model, const Functions& first, const Functions* second,
               const GramOptions& options, GramPlan& plan) {
  const bool symmetric = !second;
  const Functions& columns = second ? *second : first;
  const std::vector<Shapes> row_blocks = shapes_of(model, first, plan.blocks1);
  const std::vector<Shapes> column_blocks =
      shapes_of(model, columns, symmetric ? plan.blocks1 : plan.blocks2);

  switch (options.implementation) {
    case Implementation::kNtkVectorProducts: {
      // For each column one function's passes, and a forward and a forward-mode pass over the rows.
      for (int64_t f = 0; f < columns.count(); ++f)
        plan.pass_flops += shapes_of(model, columns, FunctionRange{f, f + 1}).pass_flops;
      for (const Shapes& block : row_blocks)
        plan.pass_flops += double(columns.count()) * 1.5 * block.pass_flops;
      plan.flops = plan.pass_flops;
      return;
    }
    case Implementation::kJacobianContraction: {
      for (size_t i = 0; i < row_blocks.size(); ++i) {
        plan.pass_flops += 1.5 * row_blocks[i].pass_flops;
        for (size_t j = symmetric ? i + 1 : 0; j < column_blocks.size(); ++j)
          plan.pass_flops += 1.5 * column_blocks[j].pass_flops;
      }
      const double width = double(GradientLayout(model, options.wanted).width);
      const double F1 = double(first.count()), F2 = double(columns.count());
      plan.flops = plan.pass_flops + (symmetric ? F1 * (F1 + 1) : 2 * F1 * F2) * width;
      return;
    }
    case Implementation::kStructuredDerivatives: {
      GramCosts costs(model, options, plan);
      for (size_t i = 0; i < row_blocks.size(); ++i) {
        plan.pass_flops += row_blocks[i].pass_flops;
        if (symmetric) costs.add(row_blocks[i], nullptr);
        for (size_t j = symmetric ? i + 1 : 0; j < column_blocks.size(); ++j) {
          plan.pass_flops += column_blocks[j].pass_flops;
          costs.add(row_blocks[i], &column_blocks[j]);
        }
      }
      plan.flops += plan.pass_flops;
      costs.finish();
      return;
    }
  }
}

}  // namespace hf
