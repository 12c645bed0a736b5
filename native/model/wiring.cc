// Which parameter is which matrix of which layer.
#include "core/error.h"
#include "model/model.h"

namespace hf {

void Model::wire() {
  embedding_ = find(Role::kEmbedding, -1);
  HF_CHECK(embedding_ >= 0, ErrorCode::kInvalidArg, "Model: no parameter has role 'embedding'");
  position_ = find(Role::kPosition, -1);
  classifier_ = find(Role::kClassifier, -1);
  if (classifier_ < 0) classifier_ = embedding_;
  final_norm_ = wire_norm(Role::kFinalNorm, Role::kFinalNormBias, -1);
  layers_.clear();
  for (int l = 0; l < spec_.layers; ++l)
    layers_.push_back(wire_layer(l));
}

LayerWeights Model::wire_layer(int l) const {
  LayerWeights w;
  w.attention_norm = wire_norm(Role::kAttentionNorm, Role::kAttentionNormBias, l);
  w.mlp_norm = wire_norm(Role::kMlpNorm, Role::kMlpNormBias, l);
  if (find(Role::kQkv, l) >= 0)
    w.qkv = {make_linear({{Role::kQkv, Role::kQkvBias}}, l)};
  else
    w.qkv = make_linears({{Role::kQ, Role::kQBias}, {Role::kK, Role::kKBias}, {Role::kV, Role::kVBias}}, l);
  w.q_norm = find(Role::kQNorm, l);
  w.k_norm = find(Role::kKNorm, l);
  w.attention_out = make_linear({{Role::kAttentionOut, Role::kAttentionOutBias}}, l);
  const bool gated = find(Role::kMlpGate, l) >= 0;
  const LinearRoles gate{Role::kMlpGate, Role::kMlpGateBias}, up{Role::kMlpUp, Role::kMlpUpBias};
  if (gated)
    w.mlp_in = make_linears({gate, up}, l);
  else
    w.mlp_in = {make_linear({up}, l)};
  w.mlp_down = make_linear({{Role::kMlpDown, Role::kMlpDownBias}}, l);
  HF_CHECK(
      gated == (spec_.activation == ActivationKind::kSiluGate), ErrorCode::kInvalidArg,
      "Model: activation 'silu_gate' goes with a parameter of role 'mlp_gate', and only with it (layer %d)",
      l);
  return w;
}

NormWeights Model::wire_norm(Role gain, Role bias, int layer) const {
  const NormWeights weights{.gain = find(gain, layer), .bias = find(bias, layer)};
  HF_CHECK(weights.gain >= 0, ErrorCode::kInvalidArg, "Model: no parameter has role '%s' in layer %d",
           kRoles[int(gain)], layer);
  return weights;
}

int Model::find(Role role, int layer) const {
  int found = -1;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const ParameterSpec& spec = parameters_[i].spec;
    if (spec.role != role || spec.layer != layer) continue;
    HF_CHECK(found < 0, ErrorCode::kInvalidArg, "Model: '%s' and '%s' both claim to be %s of layer %d",
             parameters_[found].spec.name.c_str(), spec.name.c_str(), kRoles[int(role)], layer);
    found = static_cast<int>(i);
  }
  return found;
}

// ---- linear layers ----

// One layer over the given matrices, which are neighbours in memory, and over their biases, which are too.
Linear Model::make_linear(const std::vector<LinearRoles>& roles, int layer) const {
  Linear linear;
  int64_t out = 0;
  for (const auto& [weight_role, bias_role] : roles) {
    const int weight = find(weight_role, layer), bias = find(bias_role, layer);
    HF_CHECK(weight >= 0, ErrorCode::kInvalidArg, "Model: layer %d has no parameter with role '%s'", layer,
             kRoles[int(weight_role)]);
    const View view = spec_.transposed_linears ? operand(weight).transposed() : operand(weight);
    if (linear.parts.empty()) {
      linear.weight = view;
      linear.bias = weight_or_none(bias);
    }
    linear.parts.push_back({.weight = weight, .bias = bias, .begin = out, .count = view.shape[0]});
    out += view.shape[0];
  }
  linear.weight.shape[0] = out;
  if (linear.bias) linear.bias.shape[0] = out;
  linear.transposed = spec_.transposed_linears;
  attach_adapters(linear);
  return linear;
}

// One layer if the matrices are neighbours, else one for each.
std::vector<Linear> Model::make_linears(const std::vector<LinearRoles>& roles, int layer) const {
  if (neighbours(roles, layer)) return {make_linear(roles, layer)};
  std::vector<Linear> separate;
  for (const LinearRoles& role : roles)
    separate.push_back(make_linear({role}, layer));
  return separate;
}

bool Model::neighbours(const std::vector<LinearRoles>& roles, int layer) const {
  if (spec_.transposed_linears) return false;
  const auto follows = [&](Role before, Role after) {
    const int a = find(before, layer), b = find(after, layer);
    if (a < 0 || b < 0) return a < 0 && b < 0;
    return parameters_[a].offset + parameters_[a].size == parameters_[b].offset;
  };
  for (size_t i = 1; i < roles.size(); ++i) {
    const auto& [weight_before, bias_before] = roles[i - 1];
    const auto& [weight, bias] = roles[i];
    if (!follows(weight_before, weight) || !follows(bias_before, bias)) return false;
  }
  return true;
}

void Model::attach_adapters(Linear& linear) const {
  for (const LinearPart& part : linear.parts) {
    const char* name = parameters_[part.weight].spec.name.c_str();
    int a = -1, b = -1;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].spec.target != part.weight) continue;
      int& which = parameters_[i].spec.role == Role::kLoraA ? a : b;
      HF_CHECK(which < 0, ErrorCode::kInvalidArg, "Model: '%s' has more than one adapter", name);
      which = int(i);
    }
    if (a < 0 && b < 0) continue;
    const bool fit = a >= 0 && b >= 0 && parameters_[a].spec.shape[0] == parameters_[b].spec.shape[1];
    HF_CHECK(fit, ErrorCode::kShape,
             "Model: the adapter of '%s' needs lora_A of shape (r, in) and lora_B of shape (out, r)", name);
    Adapter adapter{.down = adapter_matrix(a), .up = adapter_matrix(b), .begin = part.begin};
    adapter.up.passing_input = true;
    linear.adapters.push_back(std::move(adapter));
  }
}

Linear Model::adapter_matrix(int parameter) const {
  Linear matrix;
  matrix.weight = weight(parameter);
  matrix.parts = {{.weight = parameter, .bias = -1, .begin = 0, .count = matrix.weight.shape[0]}};
  return matrix;
}

}  // namespace hf
