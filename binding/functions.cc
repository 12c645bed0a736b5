#include "functions.h"

#include "ntk/derivatives.h"
#include "options.h"

namespace hf::binding {

std::shared_ptr<Functions> functions_of(const char* function, Napi::Value value, const Model& model) {
  static constexpr const char* kOutputs[] = {"logp", "logit"};
  const Options options(function, value);
  auto functions = std::make_shared<Functions>();
  functions->ids = options.indices("ids");
  functions->offsets = options.indices("offsets");
  functions->sequence = options.indices("sequence");
  functions->term_offsets = options.indices("termOffsets");
  functions->rows = options.indices("rows");
  functions->targets = options.indices("targets");
  functions->output = options.choice<Output>("output", kOutputs, 2);
  check_functions(function, *functions, model);
  return functions;
}

std::shared_ptr<Functions> second_functions_of(const char* function, Napi::Value value, const Model& model) {
  return value.IsObject() ? functions_of(function, value, model) : nullptr;
}

}  // namespace hf::binding
