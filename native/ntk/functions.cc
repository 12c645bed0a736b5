#include "ntk/functions.h"

#include <algorithm>

#include "ops/op_table.h"

namespace hf {
namespace {

View indices(Run& run, int64_t count) {
  return arena_tensor(run, DType::kI32, count);
}

// Whether an index takes all of `rows` rows, in order.
bool identity(const View& index, int64_t rows) {
  if (index.shape[0] != rows) return false;
  for (int64_t i = 0; i < rows; ++i)
    if (index.as<int32_t>()[i] != i) return false;
  return true;
}

template <class Body>
void with_real(DType dtype, const Body& body) {
  dtype == DType::kF64 ? body(double{}) : body(float{});
}

// y[n] (+)= ⟨x[n], w[n]⟩
void row_dot(const View& x, const View& w, const View& y, bool accumulate, Run& run) {
  RowDotArgs args;
  args.x = x, args.w = w, args.y = y, args.accumulate = accumulate;
  dispatch(args, run);
}

// y[ids[n]] += d[n]
void scatter_add(const View& ids, const View& d, const View& y, Run& run) {
  EmbeddingBackwardArgs args;
  args.ids = ids, args.d_y = d, args.d_table = y;
  dispatch(args, run);
}

}  // namespace

int64_t gradient_rows(const Functions& functions, FunctionRange range) {
  int64_t rows = 0;
  for (int64_t f = range.begin; f < range.end; ++f)
    rows += functions.length(f);
  return rows;
}

int64_t activation_rows(const Functions& functions, FunctionRange range) {
  return range.begin == range.end ? 0
                                  : functions.offsets[functions.sequence[range.end - 1] + 1] -
                                        functions.offsets[functions.sequence[range.begin]];
}

FunctionBlock::FunctionBlock(const Model& m, const Functions& all, FunctionRange r, Run& ru, bool classifier,
                             Keep keep)
    : model(m), functions(all), range(r), run(ru) {
  const int64_t first_sequence = functions.sequence[range.begin],
                last_sequence = functions.sequence[range.end - 1];
  const int32_t base = functions.offsets[first_sequence], first_term = functions.term_offsets[range.begin];
  const int64_t F = count(), R = functions.term_offsets[range.end] - first_term;
  activations = forward(model,
                        make_batch(functions.ids.data(), functions.offsets.data() + first_sequence,
                                   last_sequence - first_sequence + 1, run),
                        keep, run);

  terms = indices(run, F + 1), targets = indices(run, R), term_rows = indices(run, R);
  for (int64_t f = 0; f <= F; ++f)
    terms.as<int32_t>()[f] = functions.term_offsets[range.begin + f] - first_term;
  for (int64_t i = 0; i < R; ++i) {
    targets.as<int32_t>()[i] = functions.targets[first_term + i];
    term_rows.as<int32_t>()[i] = functions.rows[first_term + i] - base;
  }
  // One function per sequence that uses all of its rows needs no map; otherwise rows of gradients point at
  // rows of activations.
  rows.offsets = indices(run, F + 1);
  rows.a_rows = indices(run, gradient_rows(functions, range));
  int32_t row = 0;
  for (int64_t f = 0; f < F; ++f) {
    rows.offsets.as<int32_t>()[f] = row;
    for (int64_t t = 0; t < functions.length(range.begin + f); ++t)
      rows.a_rows.as<int32_t>()[row++] = int32_t(functions.first_row(range.begin + f) - base + t);
  }
  rows.offsets.as<int32_t>()[F] = row;
  if (identity(rows.a_rows, activations.batch.rows())) rows.a_rows = View{};

  hidden = identity(term_rows, activations.batch.rows())
               ? activations.features()
               : gather_rows(activations.features(), term_rows, run);
  operand = hidden;
  if (run.stored() != hidden.dtype) {
    operand = arena_tensor(run, run.stored(), R, hidden.shape[1]);
    copy_rows(hidden, operand, run);
  }
  logps = host_tensor(run, run.real(), R);
  const View weight = model.classifier_operand();
  if (functions.output == Output::kLogit || !classifier)
    d_hidden = arena_tensor(run, run.real(), R, hidden.shape[1]);
  if (functions.output == Output::kLogp) {
    lse = arena_tensor(run, run.real(), R);
    LinearPolicyGradientArgs args;
    args.hidden = hidden, args.weight = weight, args.targets = targets, args.logps = logps, args.lse = lse,
    args.d_hidden = d_hidden;
    if (d_hidden) {
      args.coefficients = host_tensor(run, run.real(), R);  // L = −Σ coefficients·logp = f
      with_real(run.real(), [&](auto zero) {
        std::fill_n(args.coefficients.as<decltype(zero)>(), R, decltype(zero)(-1));
      });
    }
    dispatch(args, run);
    return;
  }
  EmbeddingArgs args;
  args.table = weight, args.ids = targets, args.y = d_hidden;
  dispatch(args, run);
  const View logits = host_tensor(run, DType::kF64, R);
  row_dot(hidden, d_hidden, logits, false, run);
  with_real(run.real(), [&](auto zero) { std::copy_n(logits.as<double>(), R, logps.as<decltype(zero)>()); });
}

void FunctionBlock::values(const View& out) const {
  const int32_t* offsets = terms.as<int32_t>();
  with_real(run.real(), [&](auto zero) {
    for (int64_t f = 0; f < count(); ++f) {
      double sum = 0;
      for (int32_t i = offsets[f]; i < offsets[f + 1]; ++i)
        sum += logps.as<decltype(zero)>()[i];
      out.as<double>()[f] = sum;
    }
  });
}

void FunctionBlock::scale(const View& factors) {
  term_scale = host_tensor(run, run.real(), hidden.shape[0]);
  with_real(run.real(), [&](auto zero) {
    using Real = decltype(zero);
    for (int64_t f = 0; f < count(); ++f)
      for (int32_t i = terms.as<int32_t>()[f]; i < terms.as<int32_t>()[f + 1]; ++i)
        term_scale.as<Real>()[i] = Real(factors.as<double>()[f]);
  });
  if (!d_hidden) return;
  ScaleRowsArgs args;
  args.x = d_hidden, args.scale = term_scale;
  dispatch(args, run);
}

int64_t FunctionBlock::slice_width() const {
  const int64_t V = model.spec().vocab_size, rows = std::max<int64_t>(hidden.shape[0], 1);
  return std::clamp<int64_t>(slice_bytes(run.device) / (rows * dtype_bytes(run.real())) / 64 * 64,
                             std::min<int64_t>(V, 256), V);
}

View FunctionBlock::output_gradient(int64_t first, int64_t width, DType dtype) const {
  const int64_t R = hidden.shape[0];
  // On a device in rows that products take as they are (16 bytes of bfloat16), whatever the vocabulary.
  const View g = arena_tensor(run, dtype, R, run.device ? (width + 7) / 8 * 8 : width).slice(1, 0, width);
  Scratch scratch(run);
  const bool rounded = dtype != run.real();
  const View z = rounded ? arena_tensor(run, run.real(), R, width) : g;
  if (functions.output == Output::kLogp) {
    GemmArgs args;
    args.a = operand, args.b = model.classifier_operand().slice(0, first, width).transposed(), args.c = z;
    dispatch(args, run);
  }
  ClassifierGradientArgs args;
  args.z = z, args.lse = lse, args.targets = targets, args.scale = term_scale, args.first_id = first;
  if (rounded) args.g = g;
  dispatch(args, run);
  return g;
}

void FunctionBlock::gradients(FunctionSink& sink) const {
  Scratch scratch(run);
  if (hidden.shape[0] == 0) return;
  View d = d_hidden;
  if (!d) d = arena_tensor(run, run.real(), hidden.shape[0], hidden.shape[1]);
  if (!d_hidden || sink.wants(model.classifier())) {
    for (int64_t first = 0; first < model.spec().vocab_size; first += slice_width()) {
      checkpoint(run);
      Scratch scratch(run);
      const View g =
          output_gradient(first, std::min(slice_width(), model.spec().vocab_size - first), run.stored());
      if (!d_hidden) {
        GemmArgs args;
        args.a = g, args.b = model.classifier_operand().slice(0, first, g.shape[1]), args.c = d,
        args.accumulate = first > 0;
        dispatch(args, run);
      }
      if (sink.wants(model.classifier())) sink.classifier(operand, g, first, terms);
    }
  }
  const int64_t N = rows.offsets.as<int32_t>()[count()];
  const View d_features = arena_tensor(run, run.real(), N, model.spec().hidden_size);
  set_zero(run, d_features);
  // A term's row among the function's own rows.
  const View at = indices(run, hidden.shape[0]);
  const int32_t* offsets = terms.as<int32_t>();
  const int32_t base = functions.offsets[functions.sequence[range.begin]];
  for (int64_t f = 0; f < count(); ++f)
    for (int32_t i = offsets[f]; i < offsets[f + 1]; ++i)
      at.as<int32_t>()[i] = rows.offsets.as<int32_t>()[f] + term_rows.as<int32_t>()[i] -
                            int32_t(functions.first_row(range.begin + f) - base);
  scatter_add(at, d, d_features, run);
  backward(model, activations, d_features, rows, sink, run);
}

// d logp = ⟨d_hidden, t_φ⟩ + ⟨g, φ t_Wᵀ⟩, summed over a function's terms.
void FunctionBlock::directional(const View& tangent, const View& out) const {
  Scratch scratch(run);
  const int64_t R = hidden.shape[0];
  const View t_hidden = gather_rows(jvp(model, activations, tangent, run), term_rows, run);
  const View t_weight = model.view_in(tangent, model.classifier());
  const View sums = host_tensor(run, DType::kF64, R);
  row_dot(d_hidden, t_hidden, sums, false, run);
  for (int64_t first = 0; first < model.spec().vocab_size; first += slice_width()) {
    checkpoint(run);
    Scratch slice(run);
    const int64_t width = std::min(slice_width(), model.spec().vocab_size - first);
    const View g = output_gradient(first, width, run.real()), t_z = arena_tensor(run, run.real(), R, width);
    GemmArgs args;
    args.a = operand, args.b = t_weight.slice(0, first, width).transposed(), args.c = t_z;
    dispatch(args, run);
    row_dot(g, t_z, sums, true, run);
  }
  for (int64_t f = 0; f < count(); ++f) {
    double sum = 0;
    for (int32_t i = terms.as<int32_t>()[f]; i < terms.as<int32_t>()[f + 1]; ++i)
      sum += sums.as<double>()[i];
    out.as<double>()[f] = sum;
  }
}

}  // namespace hf
