#include "loss_arrays.h"

#include <string_view>

#include "objects.h"

namespace hf::binding {

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
    object.Set(name, typed_array(env,
                                 (std::string_view(name) == "clipped" || std::string_view(name) == "argmax")
                                     ? DType::kI32
                                     : real,
                                 numbers.data(), rows));
  return object;
}

std::shared_ptr<LossArrays> loss_of(const Options& options, int64_t rows, DType real, bool gradients) {
  static constexpr const char* kLosses[] = {"coefficients", "clip", "cispo"};
  static constexpr const char* kEstimators[] = {"k1", "k2", "k3", "exact"};
  static constexpr const char* kLevels[] = {"token", "sequence", "product"};
  auto arrays = std::make_shared<LossArrays>();
  arrays->rows = rows, arrays->real = real;
  arrays->inputs.reserve(8), arrays->results.reserve(8);
  PolicyBatch& b = arrays->batch;
  b.loss.temperature = options.number("temperature", 1);
  arrays->result("logps", b.logps, real);
  arrays->result("entropy", b.entropy, real);
  arrays->result("maxProb", b.max_prob, real);
  if (!gradients) return arrays;
  b.loss.loss = options.choice<PgLoss>("loss", kLosses, 3);
  if (options.has("kl")) b.loss.kl = options.choice<KlEstimator>("kl", kEstimators, 4);
  if (options.has("importance"))
    b.loss.importance = options.choice<ImportanceLevel>("importance", kLevels, 3);
  b.loss.epsilon_low = options.number("epsilonLow", b.loss.epsilon_low),
  b.loss.epsilon_high = options.number("epsilonHigh", b.loss.epsilon_high);
  b.loss.delta = options.number("delta", 0), b.loss.beta = options.number("beta", 0),
  b.loss.entropy_coef = options.number("entropyCoef", 0);
  b.loss.kl_bias_correction = options.flag("klBiasCorrection");
  arrays->input(options, "coefficients", b.coefficients, rows);
  arrays->input(options, "entropyCoefficients", b.entropy_coefficients, rows);
  arrays->input(options, "advantages", b.advantages, rows);
  arrays->input(options, "oldLogps", b.old_logps, rows);
  arrays->input(options, "refLogps", b.ref_logps, rows);
  arrays->input(options, "weights", b.weights, rows);
  arrays->input(options, "headGradients", b.head_gradients, rows);
  if (b.head_gradients) arrays->input(options, "headWeight", b.head_weight, -1);
  if (options.flag("argmax")) arrays->result("argmax", b.argmax, DType::kI32);
  arrays->result("losses", b.losses, real);
  if (options.has("refLogps") || options.has("reference") || options.has("refHidden"))
    arrays->result("kl", b.kl, real);
  if (b.loss.loss != PgLoss::kCoefficients) {
    arrays->result("ratio", b.ratio, real);
    arrays->result("clipped", b.clipped, DType::kI32);
  }
  return arrays;
}

}  // namespace hf::binding
