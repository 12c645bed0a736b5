#include "model_spec.h"

#include "options.h"

namespace hf::binding {
namespace {

constexpr const char* kModel = "Model";
constexpr const char* kLayouts[] = {"blocks", "heads"};

std::vector<int64_t> shape_of(const Options& options, const std::string& parameter) {
  const Napi::Value given = options.get("shape");
  HF_CHECK(given.IsArray(), ErrorCode::kInvalidArg, "Model: parameter '%s' needs a shape", parameter.c_str());
  const Napi::Array sizes = given.As<Napi::Array>();
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < sizes.Length(); ++i)
    shape.push_back(sizes.Get(i).ToNumber().Int64Value());
  return shape;
}

ParameterSpec parameter_of(Napi::Value value) {
  const Options options(kModel, value);
  const std::string name = options.text("name");
  return {
      .name = name,
      .role = options.choice<Role>("role", kRoles, kRoleCount),
      .layer = int(options.integer("layer")),
      .shape = shape_of(options, name),
      .target = options.has("target") ? int(options.integer("target")) : -1,
  };
}

std::vector<ParameterSpec> parameters_of(Napi::Value value) {
  HF_CHECK(value.IsArray(), ErrorCode::kInvalidArg, "Model: parameters must be an array");
  const Napi::Array list = value.As<Napi::Array>();
  std::vector<ParameterSpec> parameters;
  for (uint32_t i = 0; i < list.Length(); ++i)
    parameters.push_back(parameter_of(list.Get(i)));
  return parameters;
}

}  // namespace

ModelSpec model_spec_of(Napi::Value value) {
  const Options options(kModel, value);
  ModelSpec s;
  s.vocab_size = options.integer("vocabSize");
  s.hidden_size = options.integer("hiddenSize");
  s.layers = int(options.integer("layers"));
  s.heads = options.integer("heads");
  s.kv_heads = options.integer("kvHeads");
  s.head_dim = options.integer("headDim");
  s.mlp_size = options.integer("mlpSize");
  s.max_positions = options.integer("maxPositions");
  s.norm = options.choice<NormKind>("norm", kNormKinds, 2);
  s.norm_eps = options.number("normEps");
  s.activation = options.choice<ActivationKind>("activation", kActivationKinds, 4);
  if (options.has("rotary")) {
    const Options rotary(kModel, options.get("rotary"));
    s.inv_freq = rotary.doubles("invFreq");
    s.rotary_scale = rotary.number("scale");
  }
  s.parallel_residual = options.flag("parallelResidual");
  if (options.has("fusedQkv")) s.qkv_layout = options.choice<QkvLayout>("fusedQkv", kLayouts, 2);
  s.transposed_linears = options.flag("transposedLinears");
  s.attention_scale = options.number("attentionScale");
  s.bfloat16 = options.flag("bfloat16");
  if (options.has("loraScale")) s.lora_scale = options.number("loraScale");
  s.parameters = parameters_of(options.get("parameters"));
  return s;
}

}  // namespace hf::binding
