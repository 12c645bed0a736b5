#include "loss_arrays.h"

#include <string>
#include <string_view>

#include "objects.h"
#include "ops/loss/losses.h"

namespace hf::binding {
namespace {

// "epsilon_low" is epsilonLow in JavaScript.
std::string camel_case(std::string_view name) {
  std::string out;
  bool capital = false;
  for (const char c : name) {
    if (c == '_') {
      capital = true;
      continue;
    }
    out += capital ? static_cast<char>(c - 'a' + 'A') : c;
    capital = false;
  }
  return out;
}

bool is_index(std::string_view result) {
  return result == "clipped" || result == "argmax";
}

// The options of the loss that are not arrays.
void read_scalars(const Options& options, LinearPolicyGradientArgs& loss) {
  loss.loss = options.choice<LossKind>("loss", kLossNames, kLossCount);
  if (options.has("kl")) loss.kl = options.choice<KlEstimator>("kl", kKlEstimatorNames, kKlEstimatorCount);
  if (options.has("importance"))
    loss.importance =
        options.choice<ImportanceLevel>("importance", kImportanceLevelNames, kImportanceLevelCount);
  for (const LossParameterRow& row : kLossParameters)
    loss.parameters.*row.member = options.number(camel_case(row.name).c_str(), row.initial);
  loss.beta = options.number("beta", 0);
  loss.entropy_coef = options.number("entropyCoef", 0);
  loss.kl_bias_correction = options.flag("klBiasCorrection");
}

}  // namespace

void LossArrays::input(const Options& options, const char* name, View& view, int64_t count) {
  if (!options.has(name)) return;
  inputs.push_back(copy_numbers(options.function(), name, options.get(name), real, count));
  inputs.back().reserve(1);  // a view of no rows needs an address too
  view = make_view(inputs.back().data(), real, int64_t(inputs.back().size()) / dtype_bytes(real));
}

void LossArrays::result(const char* name, View& view, DType dtype) {
  results.emplace_back(name, std::vector<char>(static_cast<size_t>(rows * dtype_bytes(dtype))));
  results.back().second.reserve(1);
  view = make_view(results.back().second.data(), dtype, rows);
}

Napi::Object LossArrays::to_js(Napi::Env env) const {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, numbers] : results)
    object.Set(name, typed_array(env, is_index(name) ? DType::kI32 : real, numbers.data(), rows));
  return object;
}

std::shared_ptr<LossArrays> loss_of(const Options& options, int64_t rows, DType real, bool gradients) {
  auto arrays = std::make_shared<LossArrays>();
  arrays->rows = rows;
  arrays->real = real;
  arrays->inputs.reserve(8);
  arrays->results.reserve(8);
  PolicyBatch& batch = arrays->batch;
  batch.loss.temperature = options.number("temperature", 1);
  arrays->result("logps", batch.logps, real);
  arrays->result("entropy", batch.entropy, real);
  arrays->result("maxProb", batch.max_prob, real);
  if (!gradients) return arrays;

  read_scalars(options, batch.loss);
  arrays->input(options, "coefficients", batch.coefficients, rows);
  arrays->input(options, "entropyCoefficients", batch.entropy_coefficients, rows);
  arrays->input(options, "advantages", batch.advantages, rows);
  arrays->input(options, "oldLogps", batch.old_logps, rows);
  arrays->input(options, "refLogps", batch.ref_logps, rows);
  arrays->input(options, "weights", batch.weights, rows);
  arrays->input(options, "headGradients", batch.head_gradients, rows);
  if (batch.head_gradients) arrays->input(options, "headWeight", batch.head_weight, -1);

  if (options.flag("argmax")) arrays->result("argmax", batch.argmax, DType::kI32);
  arrays->result("losses", batch.losses, real);
  const bool has_reference = options.has("refLogps") || options.has("reference") || options.has("refHidden");
  if (has_reference) arrays->result("kl", batch.kl, real);
  if (batch.loss.loss != LossKind::kCoefficients) {
    arrays->result("ratio", batch.ratio, real);
    arrays->result("clipped", batch.clipped, DType::kI32);
  }
  return arrays;
}

Napi::Array losses_to_js(Napi::Env env) {
  Napi::Array losses = Napi::Array::New(env);
  for (int i = 1; i < kLossCount; ++i) {
    Napi::Object parameters = Napi::Object::New(env);
    for (const LossParameterRow& row : kLossParameters) {
      if (!reads(static_cast<LossKind>(i), row.member)) continue;
      Napi::Object range = Napi::Object::New(env);
      range.Set("default", row.initial);
      range.Set("least", row.least);
      range.Set("most", row.most);
      parameters.Set(camel_case(row.name), range);
    }
    Napi::Object loss = Napi::Object::New(env);
    loss.Set("name", kLossNames[i]);
    loss.Set("parameters", parameters);
    losses.Set(losses.Length(), loss);
  }
  return losses;
}

}  // namespace hf::binding
