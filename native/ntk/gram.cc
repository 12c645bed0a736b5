#include "ntk/gram.h"

#include <cmath>

#include "ntk/gram_sink.h"
#include "ntk/per_sample.h"
#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// Copies the upper half of every matrix to the lower.
void mirror(const View& matrices) {
  const int64_t F = matrices.shape[1];
  for (int64_t m = 0; m < matrices.shape[0]; ++m) {
    double* k = matrices.as<double>() + m * F * F;
    for (int64_t i = 0; i < F; ++i)
      for (int64_t j = 0; j < i; ++j)
        k[i * F + j] = k[j * F + i];
  }
}

// Goes through a plan's blocks. The functions of `first` are the matrices' rows, those of `second` their
// columns.
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

  // Every block of rows is run once, and its pairs are stored; then every block of columns is run beside it.
  void structured() {
    const bool classifier = options_.wanted[model_.classifier()];
    if (symmetric_ && plan_.blocks1.size() == 1) {
      Scratch scratch(run_);
      const FunctionBlock block(model_, first_, plan_.blocks1[0], run_, classifier, Keep::kLess);
      GramSink sink(block, options_, matrices_, {.progress = progress_of(total_)});
      block.gradients(sink);
      return report(total_);
    }
    for (size_t i = 0; i < plan_.blocks1.size(); ++i) {
      Scratch scratch(run_);
      const FunctionBlock rows(model_, first_, plan_.blocks1[i], run_, classifier);
      const double diagonal = symmetric_ ? double(rows.count()) * double(rows.count()) : 0;
      StoredPairs pairs;
      GramSink store(rows, options_, matrices_,
                     {.store = &pairs, .multiply = symmetric_, .progress = progress_of(diagonal)});
      rows.gradients(store);
      report(diagonal);
      for (size_t j = first_column(i + 1); j < columns().size(); ++j) {
        checkpoint(run_);
        Scratch inner(run_);
        const FunctionBlock block(model_, second_, columns()[j], run_, classifier, Keep::kLess);
        const double entries = double(rows.count()) * double(block.count()) * (symmetric_ ? 2 : 1);
        GramSink sink(block, options_, matrices_,
                      {.row_block = &rows, .row_pairs = &pairs, .progress = progress_of(entries)});
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
      for (size_t j = first_column(i); j < columns().size(); ++j) {
        checkpoint(run_);
        Scratch inner(run_);
        const bool diagonal = symmetric_ && i == j;
        const View others = diagonal ? View{} : gradients_of(second_, columns()[j], layout.width);
        for_each_part(layout, [&](const Part& part) {
          contract(part, rows, others, matrix_block(matrices_, part.matrix, plan_.blocks1[i], columns()[j]));
        });
        const double entries = double(rows.shape[0]) * double(columns()[j].count());
        report(entries * (symmetric_ && !diagonal ? 2 : 1));
      }
    }
  }

  void vector_products() {
    const View gradient = arena_tensor(run_, run_.real(), model_.size()),
               column = arena_tensor(run_, DType::kF64, first_.count());
    for (int64_t f = 0; f < second_.count(); ++f) {
      checkpoint(run_);
      Scratch scratch(run_);
      set_zero(run_, gradient);
      add_gradients(FunctionBlock(model_, second_, {f, f + 1}, run_), options_.wanted, gradient);
      linear_model(model_, first_, gradient, options_.max_bytes, View{}, column, run_);
      for (int64_t i = 0; i < first_.count(); ++i)
        matrices_.as<double>()[i * second_.count() + f] = column.as<double>()[i];
      report(double(first_.count()));
    }
  }

 private:
  // Columns of the rows of gradients that go into one matrix of the split.
  struct Part {
    int64_t matrix, column, width;
  };

  const std::vector<FunctionRange>& columns() const { return symmetric_ ? plan_.blocks1 : plan_.blocks2; }
  // A symmetric matrix is computed from its diagonal on.
  size_t first_column(size_t from) const { return symmetric_ ? from : 0; }

  View gradients_of(const Functions& functions, FunctionRange range, int64_t width) {
    const View out = arena_tensor(run_, run_.real(), range.count(), width);
    Scratch scratch(run_);
    per_sample_gradients(FunctionBlock(model_, functions, range, run_), options_.wanted, out);
    return out;
  }

  // gram += rows othersᵀ over the part's columns; others absent: rows rowsᵀ.
  void contract(const Part& part, const View& rows, const View& others, const View& gram) {
    TokenGramArgs args;
    args.accumulate = true;
    args.gram = gram;
    args.d = rows.slice(1, part.column, part.width);
    args.offsets = identity_offsets(rows.shape[0], run_);
    if (others) {
      args.d2 = others.slice(1, part.column, part.width);
      args.offsets2 = identity_offsets(others.shape[0], run_);
    }
    dispatch(args, run_);
  }

  template <class Body>
  void for_each_part(const GradientLayout& layout, const Body& body) const {
    if (options_.split == Split::kTotal) return body(Part{.matrix = 0, .column = 0, .width = layout.width});
    for (size_t p = 0; p < layout.begin.size(); ++p) {
      if (layout.begin[p] < 0) continue;
      body(Part{
          .matrix = matrix_of(int(p)),
          .column = layout.begin[p],
          .width = model_.parameters()[p].size,
      });
    }
  }
  // Which matrix of the split a parameter's products go to.
  int64_t matrix_of(int parameter) const {
    const bool head = parameter == model_.classifier();
    if (options_.split == Split::kComponents) return head ? 0 : 1;
    return head && !model_.tied() ? int64_t(model_.parameters().size()) : parameter;
  }

  // Entries of the matrix that are done, both halves of a symmetric one.
  void report(double entries) {
    done_ += entries;
    report_progress(run_, int64_t(done_), int64_t(total_));
  }
  std::function<void(double)> progress_of(double entries) {
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

void check_options(const GramOptions& options) {
  const bool structured = options.implementation == Implementation::kStructuredDerivatives;
  const bool products = options.implementation == Implementation::kNtkVectorProducts;
  HF_CHECK(options.split == Split::kTotal || !products, ErrorCode::kUnsupported,
           "ntk: 'ntk-vector-products' gives the sum over parameters only; use 'structured-derivatives' for "
           "parts");
  HF_CHECK(options.split != Split::kComponents || structured, ErrorCode::kUnsupported,
           "ntk: the decomposition needs 'structured-derivatives'");
}

void check_finite(const View& matrices) {
  for (int64_t i = 0; i < matrices.size(); ++i)
    HF_CHECK(std::isfinite(matrices.as<double>()[i]), ErrorCode::kInvalidArg,
             "ntk: the kernel is not finite; the model's weights (or a gradient) contain NaN or infinity: "
             "check the checkpoint");
}

}  // namespace

int64_t matrix_count(const Model& model, Split split) {
  switch (split) {
    case Split::kTotal: return 1;
    case Split::kComponents: return 3;
    case Split::kParameters: return int64_t(model.parameters().size()) + 2;
  }
  return 0;
}

void gram(const Model& model, const Functions& first, const Functions* second, const GramOptions& options,
          const GramPlan& plan, const View& matrices, Run& run) {
  if (matrices.size() == 0) return;
  check_options(options);
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
  check_finite(matrices);
}

}  // namespace hf
