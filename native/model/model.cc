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

bool is_adapter(Role role) {
  return role == Role::kLoraA || role == Role::kLoraB;
}

bool is_outside_layers(Role role) {
  switch (role) {
    case Role::kEmbedding:
    case Role::kPosition:
    case Role::kFinalNorm:
    case Role::kFinalNormBias:
    case Role::kClassifier: return true;
    default: return false;
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
  if (p.role == Role::kLoraA) return {p.shape[0], in};
  return {out, p.shape[1]};
}

void check_sizes(const ModelSpec& s) {
  const bool positive = s.vocab_size > 0 && s.hidden_size > 0 && s.layers >= 0 && s.heads > 0 &&
                        s.kv_heads > 0 && s.head_dim > 0 && s.max_positions > 0;
  HF_CHECK(positive, ErrorCode::kInvalidArg, "Model: every size of the description must be positive");
  HF_CHECK(s.heads % s.kv_heads == 0, ErrorCode::kShape,
           "Model: heads (%lld) must be a multiple of kvHeads (%lld)", (long long)s.heads,
           (long long)s.kv_heads);
  HF_CHECK(s.qkv_layout == QkvLayout::kBlocks || s.heads == s.kv_heads, ErrorCode::kUnsupported,
           "Model: fusedQkv 'heads' needs as many key/value heads as query heads");
}

void check_parameter(const ModelSpec& s, const ParameterSpec& p) {
  const bool right_layer = is_outside_layers(p.role) ? p.layer == -1 : p.layer >= 0 && p.layer < s.layers;
  HF_CHECK(right_layer, ErrorCode::kInvalidArg, "Model: parameter '%s' has layer %d, which '%s' cannot have",
           p.name.c_str(), p.layer, kRoles[int(p.role)]);
  const std::vector<int64_t> shape =
      is_adapter(p.role) ? expected_adapter_shape(s, p) : expected_shape(s, p.role);
  HF_CHECK(p.shape == shape, ErrorCode::kShape, "Model: parameter '%s' must have shape %s, got %s",
           p.name.c_str(), shape_text(shape).c_str(), shape_text(p.shape).c_str());
}

// To nearest, ties to even; a NaN stays one.
uint16_t to_bfloat16(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return uint16_t(is_nan ? (bits >> 16) | 0x40u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace

Model::Model(std::shared_ptr<Context> context, ModelSpec spec)
    : context_(std::move(context)), spec_(std::move(spec)) {
  check_sizes(spec_);
  for (const ParameterSpec& parameter : spec_.parameters)
    add_parameter(parameter);
  weights_ = Tensor::create(context_->counter(), context_->real(), size_);
  if (spec_.bfloat16 || context_->stored() == DType::kBF16)
    rounded_ = Tensor::create(context_->counter(), DType::kBF16, size_);
  trainable_.assign(parameters_.size(), true);
  wire();
}

void Model::add_parameter(const ParameterSpec& parameter) {
  check_parameter(spec_, parameter);
  int64_t size = 1;
  for (int64_t n : parameter.shape)
    size *= n;
  parameters_.push_back({.spec = parameter, .offset = size_, .size = size});
  size_ += size;
}

Model::Model(const Model& other)
    : context_(other.context_),
      spec_(other.spec_),
      parameters_(other.parameters_),
      size_(other.size_),
      trainable_(other.parameters_.size(), true) {
  Device* device = context_->device().get();
  weights_ = Tensor::create(context_->counter(), context_->real(), size_);
  copy_memory(device, weights_.view.data, other.weights_.view.data, weights_.view.bytes());
  if (other.rounded_.buffer) rounded_ = Tensor::create(context_->counter(), DType::kBF16, size_);
  wire();
  for (int i = 0; i < int(parameters_.size()); ++i)
    if (rounded(i)) copy_memory(device, operand(i).data, other.operand(i).data, operand(i).bytes());
}

std::shared_ptr<Model> Model::clone() const {
  return std::shared_ptr<Model>(new Model(*this));
}

// ---- weights ----

View Model::view_in(const View& flat, int parameter) const {
  const Parameter& p = parameters_[parameter];
  const std::vector<int64_t>& shape = p.spec.shape;
  void* data = static_cast<char*>(flat.data) + p.offset * dtype_bytes(flat.dtype);
  return shape.size() == 2 ? make_view(data, flat.dtype, shape[0], shape[1])
                           : make_view(data, flat.dtype, shape[0]);
}

int64_t Model::weight_bytes() const {
  return weights_.view.bytes() + (rounded_.buffer ? rounded_.view.bytes() : 0);
}

View Model::operand(int parameter) const {
  return rounded(parameter) ? view_in(rounded_.view, parameter) : weight(parameter);
}

// Whether products read a copy of the parameter in bfloat16.
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
    // The classifier of a tied model; looked up rows are the originals.
    case Role::kEmbedding: return find(Role::kClassifier, -1) < 0;
    default: return false;
  }
}

void Model::refresh(int parameter, Run& run) {
  if (!rounded(parameter)) return;
  if (run.device) {
    Run rounding = run;
    rounding.math = Math::kBf16;  // where copies round, whatever the model's math
    return dispatch(CopyArgs{.x = weight(parameter).split_last(1), .y = operand(parameter).split_last(1)},
                    rounding);
  }
  const int64_t count = parameters_[parameter].size;
  const float* from = weight(parameter).as<float>();
  uint16_t* to = operand(parameter).as<uint16_t>();
  constexpr int64_t kChunk = 1 << 18;
  parallel_for(run, (count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t end = std::min((chunk + 1) * kChunk, count);
    for (int64_t i = chunk * kChunk; i < end; ++i)
      to[i] = to_bfloat16(from[i]);
  });
}

// ---- gradients ----

View Model::gradients() {
  if (!gradients_.buffer) {
    gradients_ = Tensor::create(context_->counter(), context_->real(), size_);
    written_.assign(parameters_.size(), false);
  }
  for (size_t i = 0; i < written_.size(); ++i)
    written_[i] = written_[i] || trainable_[i];
  return gradients_.view;
}

// Gradients of parameters that never trained stay untouched: their pages are never taken. Neighbours are
// zeroed together.
void Model::zero_gradients() {
  const size_t count = written_.size();
  for (size_t begin = 0, end; begin < count; begin = end) {
    end = begin + 1;
    if (!written_[begin]) continue;
    while (end < count && written_[end])
      ++end;
    const View first = view_in(gradients_.view, int(begin)), last = view_in(gradients_.view, int(end) - 1);
    const char* past_last = last.as<char>() + last.bytes();
    zero_memory(context_->device().get(), first.data, past_last - first.as<char>());
  }
  written_.assign(count, false);
}

}  // namespace hf
