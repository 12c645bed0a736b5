// Model methods about kernels as matrices: exact ones, how they would be computed, and estimates.
#include "functions.h"
#include "ntk/gram.h"
#include "ntk/sketch.h"
#include "objects.h"
#include "options.h"

namespace hf::binding {
namespace {

constexpr const char* kSplits[] = {"total", "components", "parameters"};
constexpr const char* kProjections[] = {"rademacher", "gaussian"};

GramOptions gram_options(const Options& options, const Model& model) {
  return {
      .implementation = options.choice<Implementation>("implementation", kImplementations, 3),
      .split = options.choice<Split>("split", kSplits, 3),
      .wanted = options.mask("wanted", model.parameters().size()),
      .max_bytes = options.integer("maxBytes"),
  };
}

SketchOptions sketch_options(const Options& options, const Model& model) {
  return {
      .repeats = options.integer("repeats"),
      .size = options.integer("size"),
      .left = options.integer("left"),
      .seed = options.integer("seed"),
      .projection = options.choice<Projection>("projection", kProjections, 2),
      .confidence = options.number("confidence"),
      .wanted = options.mask("wanted", model.parameters().size()),
      .max_bytes = options.integer("maxBytes"),
  };
}

Napi::Object choice_to_js(Napi::Env env, const GramPlan::Choice& choice) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("parameter", choice.parameter);
  object.Set("form", choice.ghost ? "ghost" : "blocked");
  object.Set("flops", choice.flops);
  return object;
}

Napi::Object plan_to_js(Napi::Env env, const GramPlan& plan) {
  Napi::Array choices = Napi::Array::New(env);
  for (const GramPlan::Choice& choice : plan.choices)
    choices.Set(choices.Length(), choice_to_js(env, choice));
  const size_t column_blocks = plan.blocks2.empty() ? plan.blocks1.size() : plan.blocks2.size();
  Napi::Object result = Napi::Object::New(env);
  result.Set("blocks", double(plan.blocks1.size()));
  result.Set("columnBlocks", double(column_blocks));
  result.Set("bytes", double(plan.bytes));
  result.Set("flops", plan.flops);
  result.Set("passFlops", plan.pass_flops);
  result.Set("choices", choices);
  return result;
}

std::vector<double> gram_matrices(const Model& model, const Functions& first, const Functions* second,
                                  const GramOptions& options, Run& run) {
  const int64_t count = matrix_count(model, options.split);
  const int64_t F1 = first.count();
  const int64_t F2 = second ? second->count() : F1;
  const GramPlan plan = plan_gram(model, first, second, options);
  std::vector<double> matrices(size_t(count * F1 * F2));
  gram(model, first, second, options, plan, make_view(matrices.data(), DType::kF64, count, F1, F2), run);
  return matrices;
}

struct SketchedGram {
  std::vector<double> estimate, half_width;
};

SketchedGram sketched_matrices(const Model& model, const Functions& first, const Functions* second,
                               const SketchOptions& options, Run& run) {
  const int64_t F1 = first.count();
  const int64_t F2 = second ? second->count() : F1;
  SketchedGram result{std::vector<double>(size_t(F1 * F2)), std::vector<double>(size_t(F1 * F2))};
  sketched_gram(model, first, second, options, make_view(result.estimate.data(), DType::kF64, F1, F2),
                make_view(result.half_width.data(), DType::kF64, F1, F2), run);
  return result;
}

}  // namespace

// (functions, functions | null, options) → NativeGramPlan, without running anything
Napi::Value ModelHandle::plan_gram(const Napi::CallbackInfo& info) {
  const auto first = functions_of("ntk", info[0], *get());
  const auto second = second_functions_of("ntk", info[1], *object_);
  const GramOptions options = gram_options(Options("ntk", info[2]), *object_);
  return plan_to_js(info.Env(), hf::plan_gram(*object_, *first, second.get(), options));
}

// (functions, functions | null, options, progress) → one matrix per entry of the split
Napi::Value ModelHandle::gram(const Napi::CallbackInfo& info) {
  const auto first = functions_of("ntk", info[0], *get());
  const auto second = second_functions_of("ntk", info[1], *object_);
  const GramOptions options = gram_options(Options("ntk", info[2]), *object_);
  const int64_t count = matrix_count(*object_, options.split);
  return queue(info, info[3], [model = object_, first, second, options, count](Run& run) -> Convert {
    const auto matrices =
        std::make_shared<std::vector<double>>(gram_matrices(*model, *first, second.get(), options, run));
    return [matrices, count](Napi::Env env) { return rows_to_js(env, *matrices, count); };
  });
}

// (functions, functions | null, options, progress) → { estimate, halfWidth }
Napi::Value ModelHandle::sketch(const Napi::CallbackInfo& info) {
  const auto first = functions_of("ntk.sketch", info[0], *get());
  const auto second = second_functions_of("ntk.sketch", info[1], *object_);
  const SketchOptions options = sketch_options(Options("ntk.sketch", info[2]), *object_);
  return queue(info, info[3], [model = object_, first, second, options](Run& run) -> Convert {
    const auto sketched =
        std::make_shared<SketchedGram>(sketched_matrices(*model, *first, second.get(), options, run));
    return [sketched](Napi::Env env) -> Napi::Value {
      Napi::Object result = Napi::Object::New(env);
      result.Set("estimate", doubles_to_js(env, sketched->estimate));
      result.Set("halfWidth", doubles_to_js(env, sketched->half_width));
      return result;
    };
  });
}

}  // namespace hf::binding
