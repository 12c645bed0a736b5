// Model methods about gradients of functions, and products with them that never form a kernel.
#include "functions.h"
#include "ntk/derivatives.h"
#include "ntk/gram.h"
#include "objects.h"
#include "options.h"

namespace hf::binding {
namespace {

View view_of_doubles(std::vector<double>& numbers) {
  return make_view(numbers.data(), DType::kF64, int64_t(numbers.size()));
}

// f(θ) and J t, (F) each; the second stays zero without a tangent.
struct LinearModel {
  std::vector<double> values, derivatives;
};

}  // namespace

// (functions, { wanted, maxBytes }, progress) → tensor (F, width)
Napi::Value ModelHandle::per_sample_gradients(const Napi::CallbackInfo& info) {
  const Options options("perSampleGradients", info[1]);
  const auto functions = functions_of("perSampleGradients", info[0], *get());
  const std::vector<bool> wanted = options.mask("wanted", object_->parameters().size());
  const int64_t max_bytes = options.integer("maxBytes");
  return queue(info, info[2], [model = object_, functions, wanted, max_bytes](Run& run) -> Convert {
    return tensor_result(model->context(),
                         hf::per_sample_gradients(*model, *functions, wanted, max_bytes, run));
  });
}

// (functions, functions, v, { wanted, maxBytes }, progress) → K v
Napi::Value ModelHandle::vector_product(const Napi::CallbackInfo& info) {
  const char* function = "ntk.vectorProduct";
  const Options options(function, info[3]);
  const auto first = functions_of(function, info[0], *get());
  const auto second = functions_of(function, info[1], *object_);
  const auto v = host_numbers(function, "v", info[2], DType::kF64, second->count());
  const std::vector<bool> wanted = options.mask("wanted", object_->parameters().size());
  const int64_t max_bytes = options.integer("maxBytes");
  return queue(info, info[4], [model = object_, first, second, v, wanted, max_bytes](Run& run) -> Convert {
    const auto product = std::make_shared<std::vector<double>>(size_t(first->count()));
    hf::vector_product(*model, *first, *second, v->view(), wanted, max_bytes, view_of_doubles(*product), run);
    return [product](Napi::Env env) { return doubles_to_js(env, *product); };
  });
}

// (functions, tangent | null, { maxBytes }, progress) → { values, derivatives }: f(θ) and J t along a flat
// tangent (P)
Napi::Value ModelHandle::linear_model(const Napi::CallbackInfo& info) {
  const char* function = "ntk.linearize";
  const auto functions = functions_of(function, info[0], *get());
  const DType real = object_->context()->real();
  const auto tangent =
      info[1].IsTypedArray() ? host_numbers(function, "tangent", info[1], real, object_->size()) : nullptr;
  const int64_t max_bytes = Options(function, info[2]).integer("maxBytes");
  return queue(info, info[3], [model = object_, functions, tangent, max_bytes](Run& run) -> Convert {
    const size_t F = size_t(functions->count());
    const auto linear = std::make_shared<LinearModel>(
        LinearModel{.values = std::vector<double>(F), .derivatives = std::vector<double>(F)});
    const View direction = tangent ? on_device(run, tangent->view()) : View{};
    const View derivatives = tangent ? view_of_doubles(linear->derivatives) : View{};
    hf::linear_model(*model, *functions, direction, max_bytes, view_of_doubles(linear->values), derivatives,
                     run);
    return [linear](Napi::Env env) -> Napi::Value {
      Napi::Object result = Napi::Object::New(env);
      result.Set("values", doubles_to_js(env, linear->values));
      result.Set("derivatives", doubles_to_js(env, linear->derivatives));
      return result;
    };
  });
}

}  // namespace hf::binding
