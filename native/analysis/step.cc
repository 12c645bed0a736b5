#include "analysis/step.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "analysis/numbers.h"
#include "core/error.h"

namespace hf {
namespace {

// The parameters that train in `model` train in its copy; in its twin the classifier does as the embedding.
std::vector<bool> trainable_in(const Model& model, const Model& copy) {
  std::vector<bool> mask = model.trainable();
  if (copy.parameters().size() > mask.size()) mask.push_back(model.trainable(model.embedding()));
  return mask;
}

// −∂L/∂logp of every scored token, r̂ / N: L = −J.
View coefficients_of(const AdvantageBatch& batch, Run& run) {
  const Samples& samples = batch.samples;
  std::vector<double> coefficients;
  for (int64_t s = 0; s < samples.sequences; ++s) {
    const int64_t scored = samples.row_offsets[s + 1] - samples.row_offsets[s];
    coefficients.insert(coefficients.end(), size_t(scored), batch.advantages[s] / double(samples.sequences));
  }
  const View view = host_tensor(run, run.real(), samples.scored());
  for (int64_t i = 0; i < samples.scored(); ++i) {
    if (run.real() == DType::kF64)
      view.as<double>()[i] = coefficients[i];
    else
      view.as<float>()[i] = float(coefficients[i]);
  }
  return view;
}

// ∇ of −J, accumulated in `copy`.
void accumulate_descent(const Model& model, Model& copy, const AdvantageBatch& batch, Run& run) {
  copy.set_trainable(trainable_in(model, copy));
  const Scratch scratch(run);
  PolicyBatch loss;
  loss.loss.loss = LossKind::kCoefficients;
  loss.coefficients = coefficients_of(batch, run);
  loss.logps = host_tensor(run, run.real(), batch.samples.scored());
  accumulate(copy, batch.samples, loss, View{}, AccumulateOptions{}, run);
}

[[noreturn]] void fail_not_finite() {
  fail(ErrorCode::kInvalidArg,
       "analysis.explainStep: the gradient is not finite; the model's weights contain NaN or infinity: check "
       "the checkpoint");
}

// numbers[i] ← factor · numbers[i]. False when one of them is not finite.
bool scale(double* numbers, int64_t count, double factor, Run& run) {
  std::atomic<bool> finite{true};
  for_pieces(run, count, [&](int64_t begin, int64_t end) {
    bool good = true;
    for (int64_t i = begin; i < end; ++i) {
      good = good && std::isfinite(numbers[i]);
      numbers[i] *= factor;
    }
    if (!good) finite.store(false, std::memory_order_relaxed);
  });
  return finite;
}

// to[i] += values[i]
void add(double* to, const double* values, int64_t count, Run& run) {
  for_pieces(run, count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      to[i] += values[i];
  });
}

bool moves(const Step& step, const Parameter& parameter) {
  const double* part = step.total.data() + parameter.offset;
  return std::any_of(part, part + parameter.size, [](double x) { return x != 0; });
}

void copy_weights(const Model& from, Model& to, int parameter, Run& run) {
  copy_numbers(run, to.weight(parameter), from.weight(parameter));
  to.refresh(parameter, run);
}

}  // namespace

double Step::norm(Run& run) const {
  const int64_t count = int64_t(total.size());
  std::vector<double> squares(size_t((count + kPiece - 1) / kPiece));
  for_pieces(run, count, [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i)
      sum += total[i] * total[i];
    squares[begin / kPiece] = sum;
  });
  double sum = 0;
  for (double square : squares)
    sum += square;
  return std::sqrt(sum);
}

std::shared_ptr<Model> untied_twin(const Model& model, Run& run) {
  ModelSpec spec = model.spec();
  const ParameterSpec& embedding = spec.parameters[model.embedding()];
  spec.parameters.push_back(ParameterSpec{
      .name = embedding.name + " (as classifier)",
      .role = Role::kClassifier,
      .shape = embedding.shape,
  });
  auto twin = std::make_shared<Model>(model.context(), std::move(spec));
  const int count = int(twin->parameters().size());
  for (int p = 0; p < count; ++p) {
    checkpoint(run);
    const int source = p + 1 < count ? p : model.embedding();
    copy_numbers(run, twin->weight(p), model.weight(source));
    twin->refresh(p, run);
  }
  return twin;
}

Step ascent_step(const Model& model, Model& source, const AdvantageBatch& batch, double learning_rate,
                 Run& run) {
  accumulate_descent(model, source, batch, run);
  std::vector<double> ascent(size_t(source.size()));
  for (size_t p = 0; p < source.parameters().size(); ++p) {
    if (!source.trainable(int(p))) continue;
    checkpoint(run);
    const Parameter& parameter = source.parameters()[p];
    double* part = ascent.data() + parameter.offset;
    read_doubles(source.view_in(source.gradients(), int(p)), part, run);
    if (!scale(part, parameter.size, -learning_rate, run)) fail_not_finite();
  }
  if (source.size() == model.size()) return {.total = std::move(ascent), .by_use = {}};

  std::vector<double> total(ascent.begin(), ascent.begin() + model.size());
  const Parameter& embedding = model.parameters()[model.embedding()];
  add(total.data() + embedding.offset, ascent.data() + model.size(), embedding.size, run);
  return {.total = std::move(total), .by_use = std::move(ascent)};
}

Step adam_step(const Model& model, const std::shared_ptr<Model>& scratch, const AdvantageBatch& batch,
               const Optimizer* optimizer, const OptimizerStep& options, Run& run) {
  accumulate_descent(model, *scratch, batch, run);
  Optimizer copy(scratch);
  if (optimizer) {
    copy_numbers(run, copy.exp_avg(), optimizer->exp_avg());
    copy_numbers(run, copy.exp_avg_sq(), optimizer->exp_avg_sq());
    copy.steps = optimizer->steps;
  }
  if (!copy.step(options, run).applied) fail_not_finite();

  Step step;
  step.total.resize(size_t(model.size()));
  std::vector<double> before(size_t(model.size()));
  read_doubles(scratch->weights(), step.total.data(), run);
  read_doubles(model.weights(), before.data(), run);
  for_pieces(run, model.size(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      step.total[i] -= before[i];
  });
  for (size_t p = 0; p < model.parameters().size(); ++p)
    copy_weights(model, *scratch, int(p), run);
  return step;
}

void move(Model& model, const Step& step, Run& run) {
  std::vector<double> weights;
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    const Parameter& parameter = model.parameters()[p];
    if (!moves(step, parameter)) continue;
    checkpoint(run);
    weights.resize(size_t(parameter.size));
    read_doubles(model.weight(int(p)), weights.data(), run);
    add(weights.data(), step.total.data() + parameter.offset, parameter.size, run);
    write_doubles(weights.data(), model.weight(int(p)), run);
    model.refresh(int(p), run);
  }
}

void apply(Model& model, const Model& moved, const Step& step, Run& run) {
  for (size_t p = 0; p < model.parameters().size(); ++p)
    if (moves(step, model.parameters()[p])) copy_weights(moved, model, int(p), run);
}

}  // namespace hf
