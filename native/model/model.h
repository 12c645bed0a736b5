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

// y (N, out) = x (N, in) Wᵀ + b. Neighbouring matrices with the same input (q, k and v; gate and up) are one
// layer here when they are neighbours in memory too.
struct Adapter;
struct Linear {
  View weight;  // (out, in), any strides
  View bias;    // (out) or absent
  View packed;  // weightᵀ as gemm_pack lays it out, or absent: a caller that multiplies by it many times sets
                // it in a copy of its own
  std::vector<LinearPart> parts;
  std::vector<Adapter> adapters;
  bool transposed = false;  // the weight is stored (in, out)
  bool passing_input =
      false;  // what goes in lives only while the backward pass is at this layer (an adapter's second matrix)

  int64_t out() const { return weight.shape[0]; }
  int64_t in() const { return weight.shape[1]; }
};

// LoRA (Hu et al. 2021, 2106.09685) beside a weight of a linear layer:  y[:, begin … begin + up.out()) += up(scale · down(x)).
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

  // The whole flat vector (P), and one parameter of it in its own shape.
  View weights() const { return weights_.view; }
  int64_t weight_bytes() const {
    return weights_.view.bytes() + (rounded_.buffer ? rounded_.view.bytes() : 0);
  }  // with the rounded copies
  View weight(int parameter) const { return view_in(weights_.view, parameter); }
  // The same, absent for parameter −1.
  View weight_or_none(int parameter) const { return parameter >= 0 ? weight(parameter) : View{}; }
  // What matrix products multiply by: the weight itself, or its copy rounded to bfloat16 (a bfloat16 model,
  // or what a device's products would round at every call), which refresh() renews after a change.
  View operand(int parameter) const {
    return rounded(parameter) ? view_in(rounded_.view, parameter) : weight(parameter);
  }
  View classifier_operand() const { return operand(classifier_); }
  void refresh(int parameter, Run& run);
  // Gradients, in the same layout; made (zero) on first use. A caller may write those of trainable
  // parameters.
  View gradients();
  void zero_gradients();
  // `parameter` of any flat vector in this layout.
  View view_in(const View& flat, int parameter) const;

  bool trainable(int parameter) const { return trainable_[parameter]; }
  const std::vector<bool>& trainable() const { return trainable_; }
  void set_trainable(std::vector<bool> mask) { trainable_ = std::move(mask); }

  int embedding() const { return embedding_; }
  int position() const { return position_; }
  int classifier() const { return classifier_; }  // the embedding when tied
  const NormWeights& final_norm() const { return final_norm_; }
  const LayerWeights& layer(int l) const { return layers_[l]; }

 private:
  Model(const Model& other);
  void wire();
  int find(Role role, int layer) const;
  bool rounded(int parameter) const;
  Linear make_linear(const std::vector<std::pair<Role, Role>>& roles, int layer) const;
  std::vector<Linear> make_linears(const std::vector<std::pair<Role, Role>>& roles, int layer) const;
  void attach_adapters(Linear& linear) const;

  std::shared_ptr<Context> context_;
  ModelSpec spec_;
  std::vector<Parameter> parameters_;
  int64_t size_ = 0;
  Tensor weights_, gradients_, rounded_;   // rounded_ absent: products read the weights
  std::vector<bool> trainable_, written_;  // written_: gradients that may not be zero
  int embedding_ = -1, position_ = -1, classifier_ = -1;
  NormWeights final_norm_;
  std::vector<LayerWeights> layers_;
};

}  // namespace hf
