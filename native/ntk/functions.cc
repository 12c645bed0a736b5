#include "ntk/functions.h"

#include <algorithm>

#include "ops/op_table.h"

namespace hf {
namespace {

// Bytes of one of the classifier's vocabulary slices: a device wants larger products, and launches fewer of
// them.
constexpr int64_t kSliceBytes = int64_t{32} << 20, kDeviceSliceBytes = int64_t{128} << 20;

View indices(Run& run, int64_t count) {
  return arena_tensor(run, DType::kI32, count);
}

// Whether an index takes all of `rows` rows, in order.
bool is_identity(const View& index, int64_t rows) {
  if (index.shape[0] != rows) return false;
  for (int64_t i = 0; i < rows; ++i)
    if (index.as<int32_t>()[i] != i) return false;
  return true;
}

// Calls body with a zero of the type that views of `dtype` hold.
template <class Body>
void with_real(DType dtype, const Body& body) {
  if (dtype == DType::kF64)
    body(double{});
  else
    body(float{});
}

// y[n] = ⟨x[n], w[n]⟩, or y[n] += it.
void row_dot(const View& x, const View& w, const View& y, bool accumulate, Run& run) {
  dispatch(RowDotArgs{.x = x, .w = w, .y = y, .accumulate = accumulate}, run);
}

}  // namespace

int64_t gradient_rows(const Functions& functions, FunctionRange range) {
  int64_t rows = 0;
  for (int64_t f = range.begin; f < range.end; ++f)
    rows += functions.length(f);
  return rows;
}

int64_t activation_rows(const Functions& functions, FunctionRange range) {
  if (range.begin == range.end) return 0;
  const int32_t first = functions.sequence[range.begin], last = functions.sequence[range.end - 1];
  return functions.offsets[last + 1] - functions.offsets[first];
}

// ---- the forward pass ----

FunctionBlock::FunctionBlock(const Model& model, const Functions& functions, FunctionRange range, Run& run,
                             bool classifier, Keep keep)
    : model(model), functions(functions), range(range), run(run) {
  const int64_t last_sequence = functions.sequence[range.end - 1];
  const Batch batch = make_batch(functions.ids.data(), functions.offsets.data() + first_sequence(),
                                 last_sequence - first_sequence() + 1, run);
  activations = forward(model, batch, keep, run);
  index_terms();
  index_rows();

  const int64_t R = term_rows.shape[0];
  const View& features = activations.features();
  hidden = is_identity(term_rows, batch.rows()) ? features : gather_rows(features, term_rows, run);
  operand = hidden;
  if (run.stored() != hidden.dtype) {
    operand = arena_tensor(run, run.stored(), R, hidden.shape[1]);
    copy_rows(hidden, operand, run);
  }
  logps = host_tensor(run, run.real(), R);
  if (functions.output == Output::kLogit || !classifier)
    d_hidden = arena_tensor(run, run.real(), R, hidden.shape[1]);
  if (functions.output == Output::kLogp)
    take_log_probabilities();
  else
    take_logits();
}

// terms, targets and term_rows.
void FunctionBlock::index_terms() {
  const int32_t first_term = functions.term_offsets[range.begin];
  const int64_t F = count(), R = functions.term_offsets[range.end] - first_term;
  terms = indices(run, F + 1);
  targets = indices(run, R);
  term_rows = indices(run, R);
  for (int64_t f = 0; f <= F; ++f)
    terms.as<int32_t>()[f] = functions.term_offsets[range.begin + f] - first_term;
  for (int64_t i = 0; i < R; ++i) {
    targets.as<int32_t>()[i] = functions.targets[first_term + i];
    term_rows.as<int32_t>()[i] = functions.rows[first_term + i] - first_row();
  }
}

// rows. One function per sequence that uses all of its rows needs no map; otherwise rows of gradients point
// at rows of activations.
void FunctionBlock::index_rows() {
  rows.offsets = indices(run, count() + 1);
  rows.a_rows = indices(run, gradient_rows(functions, range));
  int32_t row = 0;
  for (int64_t f = 0; f < count(); ++f) {
    const int64_t first = functions.first_row(range.begin + f) - first_row();
    rows.offsets.as<int32_t>()[f] = row;
    for (int64_t t = 0; t < functions.length(range.begin + f); ++t)
      rows.a_rows.as<int32_t>()[row++] = int32_t(first + t);
  }
  rows.offsets.as<int32_t>()[count()] = row;
  if (is_identity(rows.a_rows, activations.batch.rows())) rows.a_rows = View{};
}

// logps, lse and d_hidden of log-probabilities: f = Σ logp is minus the loss Σ coefficients · logp with
// coefficients −1.
void FunctionBlock::take_log_probabilities() {
  const int64_t R = hidden.shape[0];
  lse = arena_tensor(run, run.real(), R);
  View coefficients;
  if (d_hidden) {
    coefficients = host_tensor(run, run.real(), R);
    with_real(run.real(), [&](auto zero) {
      using Real = decltype(zero);
      std::fill_n(coefficients.as<Real>(), R, Real(-1));
    });
  }
  LinearPolicyGradientArgs args;
  args.hidden = hidden;
  args.weight = model.classifier_operand();
  args.targets = targets;
  args.coefficients = coefficients;
  args.logps = logps;
  args.lse = lse;
  args.d_hidden = d_hidden;
  dispatch(args, run);
}

// logps and d_hidden of logits: the gradient by the features is the target's row of the classifier.
void FunctionBlock::take_logits() {
  const int64_t R = hidden.shape[0];
  dispatch(EmbeddingArgs{.table = model.classifier_operand(), .ids = targets, .y = d_hidden}, run);
  const View logits = host_tensor(run, DType::kF64, R);
  row_dot(hidden, d_hidden, logits, false, run);
  with_real(run.real(), [&](auto zero) { std::copy_n(logits.as<double>(), R, logps.as<decltype(zero)>()); });
}

void FunctionBlock::values(const View& out) const {
  sum_terms(logps, out);
}

// out[f] = the sum of f's terms, float64.
void FunctionBlock::sum_terms(const View& numbers, const View& out) const {
  const int32_t* offsets = terms.as<int32_t>();
  with_real(numbers.dtype, [&](auto zero) {
    using Real = decltype(zero);
    for (int64_t f = 0; f < count(); ++f) {
      double sum = 0;
      for (int32_t i = offsets[f]; i < offsets[f + 1]; ++i)
        sum += numbers.as<Real>()[i];
      out.as<double>()[f] = sum;
    }
  });
}

void FunctionBlock::scale(const View& factors) {
  const int32_t* offsets = terms.as<int32_t>();
  term_scale = host_tensor(run, run.real(), hidden.shape[0]);
  with_real(run.real(), [&](auto zero) {
    using Real = decltype(zero);
    for (int64_t f = 0; f < count(); ++f)
      for (int32_t i = offsets[f]; i < offsets[f + 1]; ++i)
        term_scale.as<Real>()[i] = Real(factors.as<double>()[f]);
  });
  if (d_hidden) dispatch(ScaleRowsArgs{.x = d_hidden, .scale = term_scale}, run);
}

// ---- slices of the vocabulary ----

int64_t FunctionBlock::slice_width() const {
  const int64_t V = model.spec().vocab_size, R = std::max<int64_t>(hidden.shape[0], 1);
  const int64_t bytes = run.device ? kDeviceSliceBytes : kSliceBytes;
  const int64_t columns = bytes / (R * dtype_bytes(run.real())) / 64 * 64;
  return std::clamp<int64_t>(columns, std::min<int64_t>(V, 256), V);
}

// Calls body(first, width) for the slices of the vocabulary, each in scratch memory of its own.
template <class Body>
void FunctionBlock::for_each_slice(const Body& body) const {
  const int64_t V = model.spec().vocab_size;
  for (int64_t first = 0; first < V; first += slice_width()) {
    checkpoint(run);
    Scratch scratch(run);
    body(first, std::min(slice_width(), V - first));
  }
}

View FunctionBlock::output_gradient(int64_t first, int64_t width, DType dtype) const {
  const int64_t R = hidden.shape[0];
  // On a device in rows that products take as they are (16 bytes of bfloat16), whatever the vocabulary.
  const int64_t row = run.device ? (width + 7) / 8 * 8 : width;
  const View g = arena_tensor(run, dtype, R, row).slice(1, 0, width);
  Scratch scratch(run);
  const bool rounded = dtype != run.real();
  const View z = rounded ? arena_tensor(run, run.real(), R, width) : g;
  if (functions.output == Output::kLogp) {
    const View weight = model.classifier_operand().slice(0, first, width);
    dispatch(GemmArgs{.a = operand, .b = weight.transposed(), .c = z}, run);
  }
  dispatch(
      ClassifierGradientArgs{
          .z = z,
          .lse = lse,
          .targets = targets,
          .scale = term_scale,
          .g = rounded ? g : View{},
          .first_id = first,
      },
      run);
  return g;
}

// ---- the backward pass ----

void FunctionBlock::gradients(FunctionSink& sink) const {
  Scratch scratch(run);
  if (hidden.shape[0] == 0) return;
  const View d_features = feature_gradients(take_classifier_gradients(sink));
  backward(model, activations, d_features, rows, sink, run);
}

// Gives the classifier's pairs to the sink, and returns the gradient of the terms' rows of the features:
// d_hidden, made here if it has not been yet.
View FunctionBlock::take_classifier_gradients(FunctionSink& sink) const {
  View d = d_hidden;
  if (!d) d = arena_tensor(run, run.real(), hidden.shape[0], hidden.shape[1]);
  const bool wanted = sink.wants(model.classifier());
  if (d_hidden && !wanted) return d;
  for_each_slice([&](int64_t first, int64_t width) {
    const View g = output_gradient(first, width, run.stored());
    if (!d_hidden) {
      const View weight = model.classifier_operand().slice(0, first, width);
      dispatch(GemmArgs{.a = g, .b = weight, .c = d, .accumulate = first > 0}, run);
    }
    if (wanted) sink.classifier(operand, g, first, terms);
  });
  return d;
}

// The gradients d of the terms' rows, as rows of the functions' gradients (N, C).
View FunctionBlock::feature_gradients(const View& d) const {
  const int64_t N = rows.offsets.as<int32_t>()[count()];
  const View d_features = arena_tensor(run, run.real(), N, model.spec().hidden_size);
  set_zero(run, d_features);
  // A term's row among the function's own rows.
  const View at = indices(run, hidden.shape[0]);
  const int32_t* offsets = terms.as<int32_t>();
  for (int64_t f = 0; f < count(); ++f) {
    const int32_t first = int32_t(functions.first_row(range.begin + f) - first_row());
    for (int32_t i = offsets[f]; i < offsets[f + 1]; ++i)
      at.as<int32_t>()[i] = rows.offsets.as<int32_t>()[f] + term_rows.as<int32_t>()[i] - first;
  }
  scatter_rows(d, at, d_features, run);
  return d_features;
}

// ---- forward mode ----

// d logp = ⟨d_hidden, t_φ⟩ + ⟨g, φ t_Wᵀ⟩, summed over a function's terms.
void FunctionBlock::directional(const View& tangent, const View& out) const {
  Scratch scratch(run);
  const int64_t R = hidden.shape[0];
  const View t_hidden = gather_rows(jvp(model, activations, tangent, run), term_rows, run);
  const View t_weight = model.view_in(tangent, model.classifier());
  const View sums = host_tensor(run, DType::kF64, R);
  row_dot(d_hidden, t_hidden, sums, false, run);
  for_each_slice([&](int64_t first, int64_t width) {
    const View g = output_gradient(first, width, run.real()), t_z = arena_tensor(run, run.real(), R, width);
    dispatch(GemmArgs{.a = operand, .b = t_weight.slice(0, first, width).transposed(), .c = t_z}, run);
    row_dot(g, t_z, sums, true, run);
  });
  sum_terms(sums, out);
}

}  // namespace hf
