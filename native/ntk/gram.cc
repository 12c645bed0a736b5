#include "ntk/gram.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>

#include "ntk/pairs.h"
#include "ntk/per_sample.h"
#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// Gradient pairs of one block, in the order in which the backward pass meets them; a's of matrices stay where
// the block has them.
struct StoredPair {
  View a, d, ids;  // elements: d alone
  GradientRows rows;
  std::shared_ptr<Buffer> memory, input;  // d's numbers; a's, where the block does not keep them
  std::vector<int32_t> kept_ids;
};
using StoredPairs = std::vector<StoredPair>;

View identity_offsets(int64_t count, Run& run) {
  const View offsets = arena_tensor(run, DType::kI32, count + 1);
  for (int64_t i = 0; i <= count; ++i)
    offsets.as<int32_t>()[i] = int32_t(i);
  return offsets;
}

// Adds the live block's inner products to the matrices: with `other`, those of the other block's stored pairs
// (rows) and its own (columns); without, its own symmetric ones. `keep` receives a copy of its pairs.
class GramSink : public PairSink {
 public:
  struct Other {
    const FunctionBlock* block;
    const StoredPairs* pairs;
  };
  // progress(share): how much of the block's work is done, in 0 … 1.
  using Progress = std::function<void(double share)>;
  GramSink(const FunctionBlock& block, const GramOptions& options, const View& matrices, const Other* other,
           StoredPairs* keep, bool contract, Progress progress)
      : PairSink(block, options.wanted),
        options_(options),
        matrices_(matrices),
        other_(other),
        keep_(keep),
        contract_(contract),
        progress_(std::move(progress)),
        steps_(count_steps()) {}

  void classifier(const View& hidden, const View& g, int64_t first_id, const View& offsets) override {
    if (!contract_) return;
    Scratch scratch(run_);
    TokenGramArgs args;
    args.accumulate = true, args.gram = classifier_matrix();
    set_first(args, hidden, g, {offsets, View{}});
    if (other_) {
      const View other_g = other_->block->output_gradient(first_id, g.shape[1], g.dtype);
      set_second(args, other_->block->operand, other_g, {other_->block->terms, View{}});
    }
    matrix_gram(args);
    step();
  }

  void matrix(const Linear& linear, const MatrixPair& pair) override {
    const StoredPair* stored = next(pair.a, pair.d, View{}, pair.rows, linear.passing_input);
    if (!contract_) return;
    multiply(linear, pair, stored);
    step();
  }

  void elements(int parameter, const View& gradients) override {
    const StoredPair* stored = next(View{}, gradients, View{}, {});
    if (!contract_) return;
    Scratch scratch(run_);
    TokenGramArgs args;
    args.accumulate = true, args.gram = matrix_of(parameter);
    set_first(args, View{}, gradients, {identity_offsets(gradients.shape[0], run_), View{}});
    if (stored) set_second(args, View{}, stored->d, {identity_offsets(stored->d.shape[0], run_), View{}});
    dispatch(args, run_);
  }

  void table(int parameter, const View& ids, const View& d, const View& offsets) override {
    const StoredPair* stored = next(View{}, d, ids, {offsets, View{}});
    if (!contract_) return;
    EmbeddingGramArgs args;
    args.accumulate = true, args.gram = matrix_of(parameter);
    args.ids = ids, args.d = d, args.offsets = offsets;
    if (stored) {
      args.ids2 = ids, args.d2 = d, args.offsets2 = offsets;
      args.ids = stored->ids, args.d = stored->d, args.offsets = stored->rows.offsets;
    }
    dispatch(args, run_);
    if (parameter == block_.model.classifier()) cross(ids, d, offsets, stored);
  }

 private:
  template <class Args>
  static void set_first(Args& args, const View& a, const View& d, const GradientRows& rows) {
    args.a = a, args.d = d, args.offsets = rows.offsets, args.a_rows = rows.a_rows;
  }
  // The stored block owns the rows of the matrix, the live one its columns.
  template <class Args>
  static void set_second(Args& args, const View& a, const View& d, const GradientRows& rows) {
    args.a2 = args.a, args.d2 = args.d, args.offsets2 = args.offsets, args.a_rows2 = args.a_rows;
    set_first(args, a, d, rows);
  }

  bool all_wanted(const Linear& linear) const {
    for (const LinearPart& part : linear.parts)
      if (!wants(part.weight) || (part.bias >= 0 && !wants(part.bias)) ||
          (part.bias >= 0) != (linear.parts.front().bias >= 0))
        return false;
    return true;
  }

  // Stores the pair if asked to, and returns the other block's pair of the same place in the model.
  const StoredPair* next(const View& a, const View& d, const View& ids, const GradientRows& rows,
                         bool copy_a = false) {
    if (keep_) {
      StoredPair& pair = keep_->emplace_back();
      pair.a = a, pair.rows = rows;
      const auto keep = [this](View& of) {
        auto buffer = Buffer::create(of.bytes(), block_.model.context()->counter());
        const View copy = make_view(buffer->data(), of.dtype, of.shape[0], of.shape[1]);
        copy_rows(of, copy, run_);
        of = copy;
        return buffer;
      };
      if (copy_a) pair.input = keep(pair.a);
      pair.d = d;
      pair.memory = keep(pair.d);
      if (ids) {
        pair.kept_ids.assign(ids.as<int32_t>(), ids.as<int32_t>() + ids.shape[0]);
        pair.ids = make_view(pair.kept_ids.data(), DType::kI32, ids.shape[0]);
      }
    }
    return other_ ? &(*other_->pairs)[place_++] : nullptr;
  }

  View matrix(int64_t index) const {
    const int64_t F1 = matrices_.shape[1], F2 = matrices_.shape[2];
    View all = make_view(matrices_.as<double>() + index * F1 * F2, DType::kF64, F1, F2);
    const FunctionRange rows = other_ ? other_->block->range : block_.range, columns = block_.range;
    return all.slice(0, rows.begin, rows.end - rows.begin)
        .slice(1, columns.begin, columns.end - columns.begin);
  }
  View matrix_of(int parameter) const {
    switch (options_.split) {
      case Split::kTotal: return matrix(0);
      case Split::kComponents: return matrix(1);
      case Split::kParameters: return matrix(parameter);
    }
    return View{};
  }
  View classifier_matrix() const {
    switch (options_.split) {
      case Split::kTotal:
      case Split::kComponents: return matrix(0);
      case Split::kParameters: return matrix(int64_t(block_.model.parameters().size()));
    }
    return View{};
  }
  View cross_matrix() const {
    return matrix(options_.split == Split::kTotal        ? 0
                  : options_.split == Split::kComponents ? 2
                                                         : int64_t(block_.model.parameters().size()) + 1);
  }

  // The classifier's slices and the body's linear layers, which are nearly all of the work.
  double count_steps() const {
    const Model& model = block_.model;
    int64_t steps = wants(model.classifier())
                        ? (model.spec().vocab_size + block_.slice_width() - 1) / block_.slice_width()
                        : 0;
    const auto add = [&](const std::vector<Linear>& linears) {
      for (const Linear& linear : linears) {
        steps += wants(linear);
        for (const Adapter& adapter : linear.adapters)
          steps += wants(adapter.up) + wants(adapter.down);
      }
    };
    for (int l = 0; l < model.spec().layers; ++l) {
      const LayerWeights& w = model.layer(l);
      add(w.qkv), add(w.mlp_in), add({w.attention_out, w.mlp_down});
    }
    return double(std::max<int64_t>(steps, 1));
  }
  void step() {
    if (progress_) progress_(std::min(++done_ / steps_, 1.0));
  }

  void multiply(const Linear& linear, const MatrixPair& pair, const StoredPair* stored) {
    if (options_.split != Split::kParameters && all_wanted(linear)) {
      contract(pair, stored, 0, linear.out(), linear.parts.front().bias >= 0,
               matrix_of(linear.parts.front().weight));
      return;
    }
    for (const LinearPart& part : linear.parts) {
      if (wants(part.weight)) contract(pair, stored, part.begin, part.count, false, matrix_of(part.weight));
      if (part.bias >= 0 && wants(part.bias)) contract_bias(pair, stored, part);
    }
  }

  // The cheaper of the two forms.
  void matrix_gram(const TokenGramArgs& ghost) {
    JacobianGramArgs blocked;
    blocked.a = ghost.a, blocked.d = ghost.d, blocked.offsets = ghost.offsets, blocked.a_rows = ghost.a_rows;
    blocked.a2 = ghost.a2, blocked.d2 = ghost.d2, blocked.offsets2 = ghost.offsets2,
    blocked.a_rows2 = ghost.a_rows2;
    blocked.gram = ghost.gram, blocked.bias = ghost.bias, blocked.accumulate = true,
    blocked.max_bytes = gradient_block_bytes(run_.device, options_.max_bytes);
    if (ghost_is_cheaper(ghost, blocked))
      dispatch(ghost, run_);
    else
      dispatch(blocked, run_);
  }

  void contract(const MatrixPair& pair, const StoredPair* stored, int64_t column, int64_t columns, bool bias,
                const View& gram) {
    TokenGramArgs args;
    args.accumulate = true, args.bias = bias, args.gram = gram;
    set_first(args, pair.a, pair.d.slice(1, column, columns), pair.rows);
    if (stored) set_second(args, stored->a, stored->d.slice(1, column, columns), stored->rows);
    matrix_gram(args);
  }

  // A bias alone: its gradients are row sums.
  void contract_bias(const MatrixPair& pair, const StoredPair* stored, const LinearPart& part) {
    Scratch scratch(run_);
    const View sums = function_sums(pair.d.slice(1, part.begin, part.count), View{}, pair.rows.offsets);
    TokenGramArgs args;
    args.accumulate = true, args.gram = matrix_of(part.bias);
    set_first(args, View{}, sums, {identity_offsets(sums.shape[0], run_), View{}});
    if (stored) {
      const View other =
          function_sums(stored->d.slice(1, part.begin, part.count), View{}, stored->rows.offsets);
      set_second(args, View{}, other, {identity_offsets(other.shape[0], run_), View{}});
    }
    dispatch(args, run_);
  }

  // Tied matrix: the classifier use of one function against the embedding use of the other, both ways.
  void cross(const View& ids, const View& d, const View& offsets, const StoredPair* stored) {
    for (int64_t first = 0; first < block_.model.spec().vocab_size; first += block_.slice_width()) {
      checkpoint(run_);
      Scratch scratch(run_);
      const int64_t width = std::min(block_.slice_width(), block_.model.spec().vocab_size - first);
      TiedGramArgs args;
      args.accumulate = true, args.first_id = first, args.gram = cross_matrix();
      args.phi = block_.hidden, args.g = block_.output_gradient(first, width, run_.real()),
      args.offsets = block_.terms;
      if (!stored) {
        args.ids = ids, args.delta = d, args.offsets2 = offsets, args.symmetrize = true;
        dispatch(args, run_);
        continue;
      }
      args.ids = stored->ids, args.delta = stored->d, args.offsets2 = stored->rows.offsets;
      args.gram = args.gram.transposed();
      dispatch(args, run_);
      args.phi = other_->block->hidden, args.g = other_->block->output_gradient(first, width, run_.real()),
      args.offsets = other_->block->terms;
      args.ids = ids, args.delta = d, args.offsets2 = offsets;
      args.gram = cross_matrix();
      dispatch(args, run_);
    }
  }

  const GramOptions& options_;
  const View& matrices_;
  const Other* other_;
  StoredPairs* keep_;
  const bool contract_;
  const Progress progress_;
  const double steps_;
  double done_ = 0;
  size_t place_ = 0;
};

// Copies the upper blocks of every matrix to the lower ones.
void mirror(const View& matrices) {
  const int64_t F = matrices.shape[1];
  for (int64_t m = 0; m < matrices.shape[0]; ++m) {
    double* k = matrices.as<double>() + m * F * F;
    for (int64_t i = 0; i < F; ++i)
      for (int64_t j = 0; j < i; ++j)
        k[i * F + j] = k[j * F + i];
  }
}

class Driver {
 public:
  Driver(const Model& model, const Functions& first, const Functions* second, const GramOptions& options,
         const GramPlan& plan, const View& matrices, Run& run)
      : model_(model),
        first_(first),
        second_(second ? *second : first),
        symmetric_(!second),
        options_(options),
        plan_(plan),
        matrices_(matrices),
        run_(run),
        total_(double(first.count()) * double(second_.count())) {}

  void structured() {
    if (symmetric_ && plan_.blocks1.size() == 1) {
      Scratch scratch(run_);
      const FunctionBlock block(model_, first_, plan_.blocks1[0], run_, options_.wanted[model_.classifier()],
                                Keep::kLess);
      GramSink sink(block, options_, matrices_, nullptr, nullptr, true, progress_of(total_));
      block.gradients(sink);
      return report(total_);
    }
    for (size_t i = 0; i < plan_.blocks1.size(); ++i) {
      Scratch scratch(run_);
      const FunctionBlock rows(model_, first_, plan_.blocks1[i], run_, options_.wanted[model_.classifier()]);
      StoredPairs stored;
      const double diagonal = symmetric_ ? double(rows.count()) * double(rows.count()) : 0;
      GramSink store(rows, options_, matrices_, nullptr, &stored, symmetric_, progress_of(diagonal));
      rows.gradients(store);
      report(diagonal);
      const GramSink::Other other{&rows, &stored};
      const std::vector<FunctionRange>& columns = symmetric_ ? plan_.blocks1 : plan_.blocks2;
      for (size_t j = symmetric_ ? i + 1 : 0; j < columns.size(); ++j) {
        checkpoint(run_);
        Scratch inner(run_);
        const FunctionBlock block(model_, second_, columns[j], run_, options_.wanted[model_.classifier()],
                                  Keep::kLess);
        const double entries = double(rows.count()) * double(block.count()) * (symmetric_ ? 2 : 1);
        GramSink sink(block, options_, matrices_, &other, nullptr, true, progress_of(entries));
        block.gradients(sink);
        report(entries);
      }
    }
  }

  // Gradients of two blocks at a time, as plain rows.
  void contraction() {
    const GradientLayout layout(model_, options_.wanted);
    for (size_t i = 0; i < plan_.blocks1.size(); ++i) {
      Scratch scratch(run_);
      const View rows = gradients_of(first_, plan_.blocks1[i], layout.width);
      const std::vector<FunctionRange>& columns = symmetric_ ? plan_.blocks1 : plan_.blocks2;
      for (size_t j = symmetric_ ? i : 0; j < columns.size(); ++j) {
        checkpoint(run_);
        Scratch inner(run_);
        const bool diagonal = symmetric_ && i == j;
        const View other = diagonal ? View{} : gradients_of(second_, columns[j], layout.width);
        for_each_part(layout, [&](int64_t matrix, int64_t column, int64_t width) {
          TokenGramArgs args;
          args.accumulate = true;
          args.d = rows.slice(1, column, width), args.offsets = identity_offsets(rows.shape[0], run_);
          if (!diagonal)
            args.d2 = other.slice(1, column, width), args.offsets2 = identity_offsets(other.shape[0], run_);
          args.gram = block_of(matrix, plan_.blocks1[i], columns[j]);
          dispatch(args, run_);
        });
        report(double(rows.shape[0]) * double(columns[j].end - columns[j].begin) *
               (symmetric_ && !diagonal ? 2 : 1));
      }
    }
  }

  void vector_products() {
    const View gradient = arena_tensor(run_, run_.real(), model_.size()),
               column = arena_tensor(run_, DType::kF64, first_.count());
    for (int64_t f = 0; f < second_.count(); ++f) {
      checkpoint(run_);
      Scratch scratch(run_);
      transposed_product(gradient, f);
      linear_model(model_, first_, gradient, options_.max_bytes, View{}, column, run_);
      for (int64_t i = 0; i < first_.count(); ++i)
        matrices_.as<double>()[i * second_.count() + f] = column.as<double>()[i];
      report(double(first_.count()));
    }
  }

 private:
  View gradients_of(const Functions& functions, FunctionRange range, int64_t width) {
    const View out = arena_tensor(run_, run_.real(), range.end - range.begin, width);
    Scratch scratch(run_);
    per_sample_gradients(FunctionBlock(model_, functions, range, run_), options_.wanted, out);
    return out;
  }
  void transposed_product(const View& gradient, int64_t f);

  template <class Body>
  void for_each_part(const GradientLayout& layout, const Body& body) const {
    if (options_.split == Split::kTotal) return body(0, 0, layout.width);
    for (size_t p = 0; p < layout.begin.size(); ++p)
      if (layout.begin[p] >= 0) {
        const int64_t parameters = int64_t(layout.begin.size());
        const bool head = int(p) == model_.classifier();
        const int64_t matrix = options_.split == Split::kComponents ? (head ? 0 : 1)
                               : head && !model_.tied()             ? parameters
                                                                    : int64_t(p);
        body(matrix, layout.begin[p], model_.parameters()[p].size);
      }
  }
  View block_of(int64_t index, FunctionRange rows, FunctionRange columns) const {
    const int64_t F1 = matrices_.shape[1], F2 = matrices_.shape[2];
    return make_view(matrices_.as<double>() + index * F1 * F2, DType::kF64, F1, F2)
        .slice(0, rows.begin, rows.end - rows.begin)
        .slice(1, columns.begin, columns.end - columns.begin);
  }
  // Entries of the matrix, both halves of a symmetric one.
  void report(double entries) { done_ += entries, report_progress(run_, int64_t(done_), int64_t(total_)); }
  GramSink::Progress progress_of(double entries) {
    return [this, entries](double share) {
      report_progress(run_, int64_t(done_ + share * entries), int64_t(total_));
    };
  }

  const Model& model_;
  const Functions &first_, &second_;
  const bool symmetric_;
  const GramOptions& options_;
  const GramPlan& plan_;
  const View& matrices_;
  Run& run_;
  const double total_;
  double done_ = 0;
};

// Adds Σ_f v_f ∇f of a block to a flat vector, by scaling the functions' output gradients.
class WeightedSumSink : public FunctionSink {
 public:
  WeightedSumSink(const FunctionBlock& block, const View& gradient, const std::vector<bool>& wanted)
      : block_(block), sum_(block.model, gradient, wanted, block.run) {}
  using GradientSink::wants;
  bool wants(int parameter) const override { return sum_.wants(parameter); }
  void classifier(const View& hidden, const View& g, int64_t first_id, const View&) override {
    GemmArgs args;
    args.a = g.transposed(), args.b = hidden,
    args.c = sum_.gradient(block_.model.classifier()).slice(0, first_id, g.shape[1]), args.accumulate = true;
    dispatch(args, block_.run);
  }
  void linear(const Linear& l, const View& a, const View& d, const GradientRows& rows) override {
    Scratch scratch(block_.run);
    sum_.linear(l, rows.a_rows ? gather_rows(a, rows.a_rows, block_.run) : a, d, rows);
  }
  void norm(const NormWeights& n, const View& x_hat, const View& d, const GradientRows& rows) override {
    sum_.norm(n, x_hat, d, rows);
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

void Driver::transposed_product(const View& gradient, int64_t f) {
  set_zero(run_, gradient);
  const FunctionBlock block(model_, second_, {f, f + 1}, run_);
  WeightedSumSink sink(block, gradient, options_.wanted);
  block.gradients(sink);
}

GramPlan plan_ranges(const Model& model, const Functions& first, const Functions* second,
                     const GramOptions& options) {
  GramPlan plan;
  const int64_t width = options.implementation == Implementation::kJacobianContraction
                            ? GradientLayout(model, options.wanted).width
                            : 0;
  if (options.implementation == Implementation::kStructuredDerivatives && !second) {
    // One block needs no stored pairs and no second block beside it.
    try {
      plan.blocks1 = plan_blocks(model, first, options.max_bytes, 0, 0, &plan.bytes, Keep::kLess);
    } catch (const Error&) {
      plan.blocks1.clear();
    }
    if (plan.blocks1.size() == 1 || first.count() == 0) return plan;
  }
  if (options.implementation == Implementation::kNtkVectorProducts) {
    plan.blocks1 = plan_blocks(model, first, options.max_bytes, 0, 0, &plan.bytes);
    return plan;
  }
  const int64_t kept =
      options.implementation == Implementation::kStructuredDerivatives ? stored_numbers(model.spec()) : 0;
  int64_t bytes1 = 0, bytes2 = 0;
  plan.blocks1 = plan_blocks(model, first, options.max_bytes / 2, kept, width, &bytes1);
  if (second) plan.blocks2 = plan_blocks(model, *second, options.max_bytes / 2, 0, width, &bytes2);
  plan.bytes = bytes1 + (second ? bytes2 : bytes1);
  return plan;
}

}  // namespace

int64_t matrix_count(const Model& model, Split split) {
  return split == Split::kTotal        ? 1
         : split == Split::kComponents ? 3
                                       : int64_t(model.parameters().size()) + 2;
}

GramPlan plan_gram(const Model& model, const Functions& first, const Functions* second,
                   const GramOptions& options) {
  GramPlan plan = plan_ranges(model, first, second, options);
  add_costs(model, first, second, options, plan);
  return plan;
}

void gram(const Model& model, const Functions& first, const Functions* second, const GramOptions& options,
          const GramPlan& plan, const View& matrices, Run& run) {
  if (matrices.size() == 0) return;
  HF_CHECK(
      options.split == Split::kTotal || options.implementation != Implementation::kNtkVectorProducts,
      ErrorCode::kUnsupported,
      "ntk: 'ntk-vector-products' gives the sum over parameters only; use 'structured-derivatives' for parts");
  HF_CHECK(
      options.split != Split::kComponents || options.implementation == Implementation::kStructuredDerivatives,
      ErrorCode::kUnsupported, "ntk: the decomposition needs 'structured-derivatives'");
  // Blocks are added to the matrices where the run's tensors live. Vector products give columns to the host.
  const bool elsewhere = run.device && options.implementation != Implementation::kNtkVectorProducts;
  Scratch scratch(run);
  const View sums = elsewhere ? on_device(run, matrices) : matrices;
  Driver driver(model, first, second, options, plan, sums, run);
  switch (options.implementation) {
    case Implementation::kStructuredDerivatives: driver.structured(); break;
    case Implementation::kJacobianContraction: driver.contraction(); break;
    case Implementation::kNtkVectorProducts: driver.vector_products(); break;
  }
  if (elsewhere) copy_numbers(run, matrices, sums);
  // Several blocks leave one half empty; of vector products' two halves, which differ by rounding, one is the
  // result.
  if (!second) mirror(matrices);
  for (int64_t i = 0; i < matrices.size(); ++i)
    HF_CHECK(
        std::isfinite(matrices.as<double>()[i]), ErrorCode::kInvalidArg,
        "ntk: the kernel is not finite; the model's weights (or a gradient) contain NaN or infinity: check the checkpoint");
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
    block.scale(v.slice(0, range.begin, range.end - range.begin));
    WeightedSumSink sink(block, gradient, wanted);
    block.gradients(sink);
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
    if (values) block.values(values.slice(0, range.begin, range.end - range.begin));
    if (derivatives) block.directional(tangent, derivatives.slice(0, range.begin, range.end - range.begin));
  }
}

}  // namespace hf
