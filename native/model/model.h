// Weights and their wiring: the flat parameter vector, and per layer which part of it is which matrix.
#pragma once

#include <memory>
#include <vector>

#include "model/spec.h"
#include "runtime/buffer.h"
#include "runtime/context.h"

namespace hf {

struct Parameter {
  ParameterSpec spec;
  int64_t offset = 0, size = 0;  // in elements of the flat vector
};

// A parameter's rows within a fused linear layer.
struct LinearPart {
  int weight = -1, bias = -1;    // parameter indices; bias −1: none
  int64_t begin = 0, count = 0;  // output columns
};

struct Adapter;

// y (N, out) = x (N, in) Wᵀ + b. Neighbouring matrices with the same input (q, k and v; gate and up) are one
// layer here when they are neighbours in memory too; each of them is a *part* of it.
struct Linear {
  View weight;  // (out, in), any strides
  View bias;    // (out) or absent
  // weightᵀ as gemm_pack lays it out, or absent: a caller that multiplies by it many times sets it in a copy
  // of its own.
  View packed;
  std::vector<LinearPart> parts;
  std::vector<Adapter> adapters;
  bool transposed = false;  // the weight is stored (in, out)
  // What goes in lives only while the backward pass is at this layer (an adapter's second matrix).
  bool passing_input = false;

  int64_t out() const { return weight.shape[0]; }
  int64_t in() const { return weight.shape[1]; }
};

// LoRA (Hu et al. 2021, 2106.09685) beside a weight of a linear layer:
//   y[:, begin … begin + up.out()) += up(scale · down(x))
struct Adapter {
  Linear down, up;  // (r, in) and (out, r): for sinks they are linear layers like any other
  int64_t begin = 0;
};

struct NormWeights {
  int gain = -1, bias = -1;  // parameter indices; bias −1: none
};

struct LayerWeights {
  NormWeights attention_norm, mlp_norm;
  std::vector<Linear> qkv;  // together (N, (H + 2G) D), one after the other
  int q_norm = -1, k_norm = -1;
  Linear attention_out;
  std::vector<Linear> mlp_in;  // gate then up, or up alone; together (N, 2F) or (N, F)
  Linear mlp_down;
};

// Calls visit(linear) for a layer's matrices, in the order in which the forward pass meets them.
template <class Weights, class Visit>
void for_each_linear(Weights& layer, const Visit& visit) {
  for (auto& linear : layer.qkv)
    visit(linear);
  visit(layer.attention_out);
  for (auto& linear : layer.mlp_in)
    visit(linear);
  visit(layer.mlp_down);
}

class Model {
 public:
  // Checks the description: every role where it belongs, once, with the right shape. Weights are zero.
  Model(std::shared_ptr<Context> context, ModelSpec spec);

  // A copy of spec and weights, without gradients.
  std::shared_ptr<Model> clone() const;

  const ModelSpec& spec() const { return spec_; }
  const std::shared_ptr<Context>& context() const { return context_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t size() const { return size_; }  // P
  bool tied() const { return classifier_ == embedding_; }

  // ---- weights ----

  // The whole flat vector (P).
  View weights() const { return weights_.view; }
  // With the rounded copies.
  int64_t weight_bytes() const;
  // One parameter in its own shape.
  View weight(int parameter) const { return view_in(weights_.view, parameter); }
  // The same, absent for parameter −1.
  View weight_or_none(int parameter) const { return parameter >= 0 ? weight(parameter) : View{}; }
  // What matrix products multiply by: the weight itself, or its copy rounded to bfloat16 (of a bfloat16
  // model, or of what a device's products would round at every call), which refresh() renews after a change.
  View operand(int parameter) const;
  View classifier_operand() const { return operand(classifier_); }
  void refresh(int parameter, Run& run);
  // `parameter` of any flat vector in this layout.
  View view_in(const View& flat, int parameter) const;

  // ---- gradients ----

  // In the same layout; made (zero) on first use. A caller may write those of trainable parameters.
  View gradients();
  void zero_gradients();
  bool trainable(int parameter) const { return trainable_[parameter]; }
  const std::vector<bool>& trainable() const { return trainable_; }
  void set_trainable(std::vector<bool> mask) { trainable_ = std::move(mask); }

  // ---- wiring: parameter indices, −1 where there is none ----

  int embedding() const { return embedding_; }
  int position() const { return position_; }
  // The *classifier* is the matrix (V, C) whose products with the features are the logits. When tied, it is
  // the embedding.
  int classifier() const { return classifier_; }
  const NormWeights& final_norm() const { return final_norm_; }
  const LayerWeights& layer(int l) const { return layers_[l]; }

 private:
  // A matrix's role and that of its bias.
  using LinearRoles = std::pair<Role, Role>;

  Model(const Model& other);
  void add_parameter(const ParameterSpec& parameter);
  void wire();
  LayerWeights wire_layer(int l) const;
  NormWeights wire_norm(Role gain, Role bias, int layer) const;
  int find(Role role, int layer) const;
  bool rounded(int parameter) const;
  Linear make_linear(const std::vector<LinearRoles>& roles, int layer) const;
  std::vector<Linear> make_linears(const std::vector<LinearRoles>& roles, int layer) const;
  bool neighbours(const std::vector<LinearRoles>& roles, int layer) const;
  void attach_adapters(Linear& linear) const;
  Linear adapter_matrix(int parameter) const;

  std::shared_ptr<Context> context_;
  ModelSpec spec_;
  std::vector<Parameter> parameters_;
  int64_t size_ = 0;
  Tensor weights_, gradients_, rounded_;  // rounded_ absent: products read the weights
  std::vector<bool> trainable_;
  std::vector<bool> written_;  // gradients that may not be zero
  int embedding_ = -1, position_ = -1, classifier_ = -1;
  NormWeights final_norm_;
  std::vector<LayerWeights> layers_;
};

}  // namespace hf
