#include "model_spec.h"

#include "options.h"

namespace hf::binding {
namespace {

constexpr const char* kFunction = "Model";
constexpr const char* kLayouts[] = {"blocks", "heads"};

ParameterSpec parameter_of(Napi::Value value) {
  const Options options(kFunction, value);
  ParameterSpec p;
  p.name = options.text("name");
  p.role = options.choice<Role>("role", kRoles, kRoleCount);
  p.layer = int(options.integer("layer"));
  if (options.has("target")) p.target = int(options.integer("target"));
  const Napi::Value shape = options.get("shape");
  HF_CHECK(shape.IsArray(), ErrorCode::kInvalidArg, "Model: parameter '%s' needs a shape", p.name.c_str());
  for (uint32_t i = 0; i < shape.As<Napi::Array>().Length(); ++i)
    p.shape.push_back(shape.As<Napi::Array>().Get(i).ToNumber().Int64Value());
  return p;
}

}  // namespace

ModelSpec model_spec_of(Napi::Value value) {
  const Options options(kFunction, value);
  ModelSpec s;
  s.vocab_size = options.integer("vocabSize"), s.hidden_size = options.integer("hiddenSize");
  s.layers = int(options.integer("layers")), s.heads = options.integer("heads"),
  s.kv_heads = options.integer("kvHeads");
  s.head_dim = options.integer("headDim"), s.mlp_size = options.integer("mlpSize"),
  s.max_positions = options.integer("maxPositions");
  s.norm = options.choice<NormKind>("norm", kNormKinds, 2), s.norm_eps = options.number("normEps");
  s.activation = options.choice<ActivationKind>("activation", kActivationKinds, 4);
  if (options.has("rotary")) {
    const Options rotary(kFunction, options.get("rotary"));
    const Napi::Value frequencies = rotary.get("invFreq");
    HF_CHECK(frequencies.IsTypedArray() &&
                 frequencies.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array,
             ErrorCode::kInvalidArg, "Model: rotary.invFreq must be a Float64Array");
    const Napi::Float64Array array = frequencies.As<Napi::Float64Array>();
    s.inv_freq.assign(array.Data(), array.Data() + array.ElementLength());
    s.rotary_scale = rotary.number("scale");
  }
  s.parallel_residual = options.flag("parallelResidual");
  if (options.has("fusedQkv")) s.qkv_layout = options.choice<QkvLayout>("fusedQkv", kLayouts, 2);
  s.transposed_linears = options.flag("transposedLinears");
  s.attention_scale = options.number("attentionScale");
  s.bfloat16 = options.has("bfloat16") && options.flag("bfloat16");
  if (options.has("loraScale")) s.lora_scale = options.number("loraScale");
  const Napi::Value parameters = options.get("parameters");
  HF_CHECK(parameters.IsArray(), ErrorCode::kInvalidArg, "Model: parameters must be an array");
  for (uint32_t i = 0; i < parameters.As<Napi::Array>().Length(); ++i)
    s.parameters.push_back(parameter_of(parameters.As<Napi::Array>().Get(i)));
  return s;
}

}  // namespace hf::binding
