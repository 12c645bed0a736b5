#include "model/model.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "ops/op_table.h"

namespace hf {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The shape that the engine expects of a role.
std::vector<int64_t> expected_shape(const ModelSpec& s, Role role) {
  const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim, C = s.hidden_size, F = s.mlp_size;
  const auto linear = [&](int64_t out, int64_t in) {
    return s.transposed_linears ? std::vector<int64_t>{in, out} : std::vector<int64_t>{out, in};
  };
  switch (role) {
    case Role::kEmbedding:
    case Role::kClassifier: return {s.vocab_size, C};
    case Role::kPosition: return {s.max_positions, C};
    case Role::kQ: return linear(q, C);
    case Role::kK:
    case Role::kV: return linear(kv, C);
    case Role::kQkv: return linear(q + 2 * kv, C);
    case Role::kQBias: return {q};
    case Role::kKBias:
    case Role::kVBias: return {kv};
    case Role::kQkvBias: return {q + 2 * kv};
    case Role::kQNorm:
    case Role::kKNorm: return {s.head_dim};
    case Role::kAttentionOut: return linear(C, q);
    case Role::kMlpGate:
    case Role::kMlpUp: return linear(F, C);
    case Role::kMlpGateBias:
    case Role::kMlpUpBias: return {F};
    case Role::kMlpDown: return linear(C, F);
    default: return {C};
  }
}

// r comes from the parameter itself.
std::vector<int64_t> expected_adapter_shape(const ModelSpec& s, const ParameterSpec& p) {
  const bool known = p.target >= 0 && p.target < int(s.parameters.size()) &&
                     s.parameters[p.target].shape.size() == 2 && p.shape.size() == 2;
  HF_CHECK(known, ErrorCode::kInvalidArg, "Model: parameter '%s' must be a matrix beside a linear weight",
           p.name.c_str());
  const std::vector<int64_t>& weight = s.parameters[p.target].shape;
  const int64_t out = weight[s.transposed_linears ? 1 : 0], in = weight[s.transposed_linears ? 0 : 1];
  return p.role == Role::kLoraA ? std::vector<int64_t>{p.shape[0], in}
                                : std::vector<int64_t>{out, p.shape[1]};
}

}  // namespace

Model::Model(std::shared_ptr<Context> context, ModelSpec spec)
    : context_(std::move(context)), spec_(std::move(spec)) {
  const ModelSpec& s = spec_;
  HF_CHECK(s.vocab_size > 0 && s.hidden_size > 0 && s.layers >= 0 && s.heads > 0 && s.kv_heads > 0 &&
               s.head_dim > 0 && s.max_positions > 0,
           ErrorCode::kInvalidArg, "Model: every size of the description must be positive");
  HF_CHECK(s.heads % s.kv_heads == 0, ErrorCode::kShape,
           "Model: heads (%lld) must be a multiple of kvHeads (%lld)", (long long)s.heads,
           (long long)s.kv_heads);
  HF_CHECK(s.qkv_layout == QkvLayout::kBlocks || s.heads == s.kv_heads, ErrorCode::kUnsupported,
           "Model: fusedQkv 'heads' needs as many key/value heads as query heads");
  for (const ParameterSpec& p : s.parameters) {
    const bool outside = p.role == Role::kEmbedding || p.role == Role::kPosition ||
                         p.role == Role::kFinalNorm || p.role == Role::kFinalNormBias ||
                         p.role == Role::kClassifier;
    HF_CHECK(outside ? p.layer == -1 : p.layer >= 0 && p.layer < s.layers, ErrorCode::kInvalidArg,
             "Model: parameter '%s' has layer %d, which '%s' cannot have", p.name.c_str(), p.layer,
             kRoles[int(p.role)]);
    const bool adapter = p.role == Role::kLoraA || p.role == Role::kLoraB;
    const std::vector<int64_t> shape = adapter ? expected_adapter_shape(s, p) : expected_shape(s, p.role);
    HF_CHECK(p.shape == shape, ErrorCode::kShape, "Model: parameter '%s' must have shape %s, got %s",
             p.name.c_str(), shape_text(shape).c_str(), shape_text(p.shape).c_str());
    int64_t size = 1;
    for (int64_t n : p.shape)
      size *= n;
    parameters_.push_back({p, size_, size});
    size_ += size;
  }
  weights_ = Tensor::create(context_->counter(), context_->real(), size_);
  if (s.bfloat16 || context_->stored() == DType::kBF16)
    rounded_ = Tensor::create(context_->counter(), DType::kBF16, size_);
  trainable_.assign(parameters_.size(), true);
  wire();
}

Model::Model(const Model& other)
    : context_(other.context_),
      spec_(other.spec_),
      parameters_(other.parameters_),
      size_(other.size_),
      trainable_(other.parameters_.size(), true) {
  weights_ = Tensor::create(context_->counter(), context_->real(), size_);
  copy_memory(context_->device().get(), weights_.view.data, other.weights_.view.data, weights_.view.bytes());
  if (other.rounded_.buffer) rounded_ = Tensor::create(context_->counter(), DType::kBF16, size_);
  wire();
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (rounded(int(i)))
      copy_memory(context_->device().get(), operand(int(i)).data, other.operand(int(i)).data,
                  operand(int(i)).bytes());
}

bool Model::rounded(int parameter) const {
  if (!rounded_.buffer) return false;
  switch (parameters_[parameter].spec.role) {
    case Role::kQ:
    case Role::kK:
    case Role::kV:
    case Role::kQkv:
    case Role::kAttentionOut:
    case Role::kMlpGate:
    case Role::kMlpUp:
    case Role::kMlpDown:
    case Role::kClassifier: return true;
    case Role::kEmbedding:
      return find(Role::kClassifier, -1) < 0;  // of a tied model; looked up rows are the originals
    default: return false;
  }
}

void Model::refresh(int parameter, Run& run) {
  if (!rounded(parameter)) return;
  if (run.device) {
    CopyArgs args;
    args.x = weight(parameter).split_last(1), args.y = operand(parameter).split_last(1);
    Run rounding = run;
    rounding.math = Math::kBf16;  // where copies round, whatever the model's math
    return dispatch(args, rounding);
  }
  const int64_t count = parameters_[parameter].size;
  const float* from = weight(parameter).as<float>();
  uint16_t* to = operand(parameter).as<uint16_t>();
  constexpr int64_t kChunk = 1 << 18;
  parallel_for(run, (count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    for (int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, count); ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(from[i]);  // to nearest, ties to even; a NaN stays one
      to[i] = uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u
                                                          : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
  });
}

std::shared_ptr<Model> Model::clone() const {
  return std::shared_ptr<Model>(new Model(*this));
}

View Model::gradients() {
  if (!gradients_.buffer)
    gradients_ = Tensor::create(context_->counter(), context_->real(), size_),
    written_.assign(parameters_.size(), false);
  for (size_t i = 0; i < written_.size(); ++i)
    written_[i] = written_[i] || trainable_[i];
  return gradients_.view;
}

// Frozen parameters' gradients stay untouched: their pages are never taken.
void Model::zero_gradients() {
  for (size_t begin = 0, end; begin < written_.size(); begin = end) {  // neighbours together
    for (end = begin; end < written_.size() && written_[end];)
      ++end;
    if (end == begin) {
      ++end;
      continue;
    }
    const View first = view_in(gradients_.view, int(begin)), last = view_in(gradients_.view, int(end) - 1);
    zero_memory(context_->device().get(), first.data, last.as<char>() + last.bytes() - first.as<char>());
  }
  written_.assign(written_.size(), false);
}

View Model::view_in(const View& flat, int parameter) const {
  const Parameter& p = parameters_[parameter];
  void* data = static_cast<char*>(flat.data) + p.offset * dtype_bytes(flat.dtype);
  return p.spec.shape.size() == 2 ? make_view(data, flat.dtype, p.spec.shape[0], p.spec.shape[1])
                                  : make_view(data, flat.dtype, p.spec.shape[0]);
}

int Model::find(Role role, int layer) const {
  int found = -1;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].spec.role != role || parameters_[i].spec.layer != layer) continue;
    HF_CHECK(found < 0, ErrorCode::kInvalidArg, "Model: '%s' and '%s' both claim to be %s of layer %d",
             parameters_[found].spec.name.c_str(), parameters_[i].spec.name.c_str(), kRoles[int(role)],
             layer);
    found = static_cast<int>(i);
  }
  return found;
}

// One layer over the given (weight, bias) roles, whose matrices are neighbours.
Linear Model::make_linear(const std::vector<std::pair<Role, Role>>& roles, int layer) const {
  Linear linear;
  int64_t out = 0;
  for (const auto& [weight_role, bias_role] : roles) {
    const int weight = find(weight_role, layer), bias = find(bias_role, layer);
    HF_CHECK(weight >= 0, ErrorCode::kInvalidArg, "Model: layer %d has no parameter with role '%s'", layer,
             kRoles[int(weight_role)]);
    const View view = spec_.transposed_linears ? operand(weight).transposed() : operand(weight);
    if (linear.parts.empty()) linear.weight = view, linear.bias = bias >= 0 ? this->weight(bias) : View{};
    linear.parts.push_back({weight, bias, out, view.shape[0]});
    out += view.shape[0];
  }
  linear.weight.shape[0] = out;
  if (linear.bias) linear.bias.shape[0] = out;
  linear.transposed = spec_.transposed_linears;
  attach_adapters(linear);
  return linear;
}

void Model::attach_adapters(Linear& linear) const {
  const auto matrix = [&](int parameter) {
    Linear one;
    one.weight = weight(parameter), one.parts = {{parameter, -1, 0, one.weight.shape[0]}};
    return one;
  };
  for (const LinearPart& part : linear.parts) {
    int a = -1, b = -1;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].spec.target != part.weight) continue;
      int& which = parameters_[i].spec.role == Role::kLoraA ? a : b;
      HF_CHECK(which < 0, ErrorCode::kInvalidArg, "Model: '%s' has more than one adapter",
               parameters_[part.weight].spec.name.c_str());
      which = int(i);
    }
    if (a < 0 && b < 0) continue;
    HF_CHECK(a >= 0 && b >= 0 && parameters_[a].spec.shape[0] == parameters_[b].spec.shape[1],
             ErrorCode::kShape,
             "Model: the adapter of '%s' needs lora_A of shape (r, in) and lora_B of shape (out, r)",
             parameters_[part.weight].spec.name.c_str());
    Adapter adapter{matrix(a), matrix(b), part.begin};
    adapter.up.passing_input = true;
    linear.adapters.push_back(std::move(adapter));
  }
}

std::vector<Linear> Model::make_linears(const std::vector<std::pair<Role, Role>>& roles, int layer) const {
  bool neighbours = !spec_.transposed_linears;
  for (size_t i = 1; i < roles.size() && neighbours; ++i) {
    const auto follows = [&](Role before, Role after) {
      const int a = find(before, layer), b = find(after, layer);
      if (a < 0 || b < 0) return a < 0 && b < 0;
      return parameters_[a].offset + parameters_[a].size == parameters_[b].offset;
    };
    neighbours = follows(roles[i - 1].first, roles[i].first) && follows(roles[i - 1].second, roles[i].second);
  }
  if (neighbours) return {make_linear(roles, layer)};
  std::vector<Linear> separate;
  for (const auto& role : roles)
    separate.push_back(make_linear({role}, layer));
  return separate;
}

void Model::wire() {
  embedding_ = find(Role::kEmbedding, -1);
  HF_CHECK(embedding_ >= 0, ErrorCode::kInvalidArg, "Model: no parameter has role 'embedding'");
  position_ = find(Role::kPosition, -1);
  classifier_ = find(Role::kClassifier, -1);
  if (classifier_ < 0) classifier_ = embedding_;
  const auto norm = [&](Role gain, Role bias, int layer) {
    NormWeights weights{find(gain, layer), find(bias, layer)};
    HF_CHECK(weights.gain >= 0, ErrorCode::kInvalidArg, "Model: no parameter has role '%s' in layer %d",
             kRoles[int(gain)], layer);
    return weights;
  };
  final_norm_ = norm(Role::kFinalNorm, Role::kFinalNormBias, -1);
  layers_.clear();
  for (int l = 0; l < spec_.layers; ++l) {
    LayerWeights w;
    w.attention_norm = norm(Role::kAttentionNorm, Role::kAttentionNormBias, l);
    w.mlp_norm = norm(Role::kMlpNorm, Role::kMlpNormBias, l);
    w.qkv =
        find(Role::kQkv, l) >= 0
            ? std::vector<Linear>{make_linear({{Role::kQkv, Role::kQkvBias}}, l)}
            : make_linears({{Role::kQ, Role::kQBias}, {Role::kK, Role::kKBias}, {Role::kV, Role::kVBias}}, l);
    w.q_norm = find(Role::kQNorm, l), w.k_norm = find(Role::kKNorm, l);
    w.attention_out = make_linear({{Role::kAttentionOut, Role::kAttentionOutBias}}, l);
    w.mlp_in = find(Role::kMlpGate, l) >= 0
                   ? make_linears({{Role::kMlpGate, Role::kMlpGateBias}, {Role::kMlpUp, Role::kMlpUpBias}}, l)
                   : std::vector<Linear>{make_linear({{Role::kMlpUp, Role::kMlpUpBias}}, l)};
    w.mlp_down = make_linear({{Role::kMlpDown, Role::kMlpDownBias}}, l);
    HF_CHECK(
        (find(Role::kMlpGate, l) >= 0) == (spec_.activation == ActivationKind::kSiluGate),
        ErrorCode::kInvalidArg,
        "Model: activation 'silu_gate' goes with a parameter of role 'mlp_gate', and only with it (layer %d)",
        l);
    layers_.push_back(std::move(w));
  }
}

}  // namespace hf
