// The model method that explains a step.
#include "analysis/explain.h"

#include "functions.h"
#include "objects.h"
#include "options.h"
#include "packed.h"

namespace hf::binding {
namespace {

constexpr const char* kExplainStep = "analysis.explainStep";

// The batch that the step is made from, with what owns its numbers.
struct GivenBatch {
  std::shared_ptr<Packed> packed;
  std::vector<double> advantages;

  AdvantageBatch batch() const { return {.samples = packed->samples(), .advantages = advantages}; }
};

// { batch, advantages }: samples, and a Float64Array with a number for each.
GivenBatch batch_of(const Options& options, const Model& model) {
  GivenBatch given{
      .packed = packed_samples(kExplainStep, options.get("batch"), model),
      .advantages = {},
  };
  given.advantages =
      copy_doubles(kExplainStep, "advantages", options.get("advantages"), given.packed->sequences());
  return given;
}

std::shared_ptr<const Optimizer> optimizer_of(const Options& options, const Model& model) {
  if (!options.has("optimizer")) return nullptr;
  const std::shared_ptr<Optimizer> optimizer = OptimizerHandle::of(options.get("optimizer"));
  const Model& trained = optimizer->model();
  HF_CHECK(trained.context() == model.context() && trained.size() == model.size(), ErrorCode::kInvalidArg,
           "%s: optimizer must be of this model, or of another with the same parameters in the same context",
           kExplainStep);
  return optimizer;
}

InfluenceOptions influence_options(const Options& options, const Model& model) {
  return {
      .samples = *functions_of(kExplainStep, options.get("samples"), model),
      .max_bytes = options.integer("maxBytes"),
  };
}

// Indices as an Int32Array, or none.
std::vector<int64_t> targets_of(const Options& options, int64_t probes, int64_t V) {
  if (!options.has("targets")) return {};
  const std::vector<int32_t> given = options.indices("targets");
  HF_CHECK(int64_t(given.size()) == probes, ErrorCode::kShape, "%s: targets must have one token per probe",
           kExplainStep);
  for (int32_t target : given)
    HF_CHECK(target >= 0 && target < V, ErrorCode::kInvalidArg, "%s: targets must be token ids",
             kExplainStep);
  return {given.begin(), given.end()};
}

ExplainOptions explain_options(const Options& options, const Model& model, int64_t probes) {
  ExplainOptions how;
  how.update = options.choice<Update>("update", kUpdates, 3);
  how.layers = options.flag("layers");
  how.apply = options.flag("apply");
  how.targets = targets_of(options, probes, model.spec().vocab_size);
  switch (how.update) {
    case Update::kGradient: how.learning_rate = options.number("learningRate"); break;
    case Update::kAdam:
      how.optimizer = optimizer_of(options, model);
      how.adam = optimizer_step_of(Options(kExplainStep, options.get("adam")), model);
      break;
    case Update::kGiven:
      how.given = copy_doubles(kExplainStep, "step", options.get("step"), model.size());
      break;
  }
  if (options.has("influences"))
    how.influences = influence_options(Options(kExplainStep, options.get("influences")), model);
  return how;
}

Napi::Object change_to_js(Napi::Env env, const Change& change) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("before", change.before);
  object.Set("representation", change.representation);
  object.Set("gradient", change.gradient);
  object.Set("cross", change.cross);
  object.Set("predicted", change.predicted);
  object.Set("measured", change.measured);
  return object;
}

void set_accuracy(Napi::Object object, const Accuracy& accuracy) {
  object.Set("relativeError", accuracy.relative_error);
  object.Set("r2", accuracy.r2);
  object.Set("signAgreement", accuracy.sign_agreement);
}

Napi::Object probe_to_js(Napi::Env env, const ProbeExplanation& probe) {
  Napi::Array layers = Napi::Array::New(env);
  for (const Vocabulary& layer : probe.layers)
    layers.Set(layers.Length(), doubles_to_js(env, layer));
  Napi::Object object = Napi::Object::New(env);
  object.Set("representation", doubles_to_js(env, probe.representation));
  object.Set("gradient", doubles_to_js(env, probe.gradient));
  object.Set("cross", doubles_to_js(env, probe.cross));
  object.Set("predicted", doubles_to_js(env, probe.predicted));
  object.Set("measured", doubles_to_js(env, probe.measured));
  object.Set("target", double(probe.target));
  set_accuracy(object, probe.accuracy);
  object.Set("logp", change_to_js(env, probe.logp));
  object.Set("maxProb", change_to_js(env, probe.max_prob));
  object.Set("entropy", change_to_js(env, probe.entropy));
  object.Set("layers", layers);
  return object;
}

Napi::Object influences_to_js(Napi::Env env, const Influences& influences, int64_t probes) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("representation", rows_to_js(env, influences.representation, probes));
  object.Set("gradient", rows_to_js(env, influences.gradient, probes));
  object.Set("cross", rows_to_js(env, influences.cross, probes));
  return object;
}

Napi::Object explanation_to_js(Napi::Env env, const Explanation& explanation) {
  Napi::Array probes = Napi::Array::New(env);
  for (const ProbeExplanation& probe : explanation.probes)
    probes.Set(probes.Length(), probe_to_js(env, probe));
  Napi::Object object = Napi::Object::New(env);
  object.Set("probes", probes);
  set_accuracy(object, explanation.accuracy);
  object.Set("maxProb", change_to_js(env, explanation.max_prob));
  object.Set("entropy", change_to_js(env, explanation.entropy));
  object.Set("crossDefined", explanation.cross_defined);
  object.Set("stepNorm", explanation.step_norm);
  if (explanation.influences)
    object.Set("influences",
               influences_to_js(env, *explanation.influences, int64_t(explanation.probes.size())));
  return object;
}

}  // namespace

// (prefixes, NativeExplainOptions, progress) → NativeExplanation
Napi::Value ModelHandle::explain_step(const Napi::CallbackInfo& info) {
  const Options given(kExplainStep, info[1]);
  const auto probes = packed_prefixes(kExplainStep, info[0], *get());
  const GivenBatch batch = batch_of(given, *object_);
  const auto options =
      std::make_shared<ExplainOptions>(explain_options(given, *object_, int64_t(probes->rows.size())));
  return queue(info, info[2], [model = object_, batch, probes, options](Run& run) -> Convert {
    const auto explanation = std::make_shared<Explanation>(
        hf::explain_step(model, batch.batch(), probes->prefixes(), *options, run));
    return [explanation](Napi::Env env) { return explanation_to_js(env, *explanation); };
  });
}

}  // namespace hf::binding
