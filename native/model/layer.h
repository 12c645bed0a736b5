// One layer of the decoder, written once: training, scoring, prompts and decoding all run it. What differs
// among them is the step in which rows of tokens see each other, attention; it is given to the layer as an
// AttentionStep.
//
//   normed = norm(x)                       q, k, v = normed Wᵀ + b     (q and k normalised head by head, then rotated)
//   middle = x + attention(q, k, v) Wᵀ + b
//   normed = norm(middle)                                              (norm(x) where the residuals are parallel)
//   output = middle + nonlinearity(normed Wᵀ + b) Wᵀ + b
//
// Names of sizes: N rows (tokens of all sequences), C features, H heads of queries, G heads of keys and
// values, D numbers a head, F the width of the MLP.
#pragma once

#include <span>

#include "model/model.h"
#include "runtime/run.h"

namespace hf {

// ---- views of a layer's tensors ----

// The heads of a fused (N, (H + 2G) D) tensor as (N, H, D), (N, G, D), (N, G, D).
struct HeadViews {
  View q, k, v;
};
HeadViews head_views(const ModelSpec& spec, const View& qkv);
int64_t qkv_width(const ModelSpec& spec);  // (H + 2G) D

// What the nonlinearity reads, (N, F) each: x alone, or the gate x and the numbers `up` that it multiplies.
struct MlpViews {
  View x, up;
};
MlpViews mlp_views(const ModelSpec& spec, const View& mlp_in);
int64_t mlp_in_width(const ModelSpec& spec);  // F or 2F

// ---- what a layer leaves behind ----

// How much of a forward pass stays in memory for what comes after it.
enum class Keep {
  kAll,
  // All but what is cheap to compute again: the outputs of norms and of the nonlinearity. A sink sees them
  // only while it is called.
  kLess,
  // Every layer's input x, from which backward() computes the rest of the layer again when it gets there
  // (gradient checkpointing; Chen et al. 2016, 1604.06174): the same operations on the same numbers, so the
  // same bits.
  kInputs,
  // Only what the features need.
  kFeatures,
};

struct NormActivations {
  View y;           // (N, C)
  View mean, rstd;  // (N)
};

// The norm of q or k works head by head, on copies whose rows are (token, head).
struct HeadNormActivations {
  View x;           // (N · heads, D)
  View mean, rstd;  // (N · heads)
};

struct LayerActivations {
  View x;  // (N, C) residual stream in
  NormActivations attention_norm;
  View qkv;  // (N, (H + 2G) D), after rotation
  HeadNormActivations q_norm, k_norm;
  View attention;  // (N, H D)
  View lse;        // (N, H), what the attention step returns
  View middle;     // (N, C) residual stream after attention
  NormActivations mlp_norm;
  View mlp_in;   // (N, F), or (N, 2F) = gate, up
  View mlp_act;  // (N, F)
};

// What the norm before the MLP reads: the residual stream after attention, or x where the residuals are
// parallel.
const View& mlp_norm_input(const ModelSpec& spec, const LayerActivations& activations);

// ---- the layer ----

// How the rows of a layer see each other.
class AttentionStep {
 public:
  virtual ~AttentionStep() = default;
  // y (N, H, D) from one layer's heads. Returns the logarithm of each row's Σ e^score, (N, H), for
  // backward(); absent where nothing is to be computed backward.
  virtual View attend(const HeadViews& heads, const View& y, Run& run) = 0;
};

// Sequences packed one after the other: a row sees the earlier rows of its own sequence. For training,
// scoring and prompts.
class PackedAttention : public AttentionStep {
 public:
  // offsets (S+1) i32: sequence s owns rows offsets[s] … offsets[s+1] − 1.
  PackedAttention(const ModelSpec& spec, const View& offsets) : spec_(spec), offsets_(offsets) {}
  View attend(const HeadViews& heads, const View& y, Run& run) override;

 private:
  const ModelSpec& spec_;
  const View offsets_;
};

// All of a layer but its output, from x (N, C) and the rows' positions (N). `weights` are those of the
// model's layer, or a copy of them that has packed matrices. With Keep::kLess, neither the norms' outputs nor
// mlp_act.
LayerActivations forward_layer(const Model& model, const LayerWeights& weights, const View& x,
                               const View& positions, AttentionStep& attention, Keep keep, Run& run);
// The layer's output, into y (N, C).
void layer_output(const Model& model, const LayerWeights& weights, const LayerActivations& activations,
                  const View& y, Run& run);

// ---- the layer's operations, for its backward and its forward mode ----

// A list of one.
inline std::span<const Linear> one(const Linear& linear) {
  return {&linear, 1};
}
// y = a Wᵀ + b (+ residual) over all of `linears`, whose outputs lie side by side in y; adapters included.
void apply_linears(const ModelSpec& spec, std::span<const Linear> linears, const View& a, const View& y,
                   const View& residual, Run& run);
// scale · a Aᵀ (N, r) of an adapter, in the arena.
View adapter_input(const ModelSpec& spec, const Adapter& adapter, const View& a, Run& run);
// y (N, C) of a norm, in the arena; its statistics go where `out` has room for them.
void apply_norm(const Model& model, const NormWeights& weights, const View& x, DType dtype,
                NormActivations& out, Run& run);
// Room for the statistics of x's rows, in the arena.
NormActivations norm_statistics(const View& x, Run& run);
// The nonlinearity of mlp_in, (N, F) in the arena.
View activated(const ModelSpec& spec, const View& mlp_in, Run& run);
// Rotary embedding of heads (N, H, D), in place; nothing in models without rotary frequencies.
void rotate(const Model& model, const View& positions, const View& heads, bool inverse, Run& run);

enum class Copy { kIn, kOut };
// kOut: strided heads (N, H, D) into packed rows (N · H, D); kIn: back.
void copy_heads(const View& heads, const View& rows, Copy direction, Run& run);
// y = x, rows (N, C) that may each be apart.
void copy_rows(const View& x, const View& y, Run& run);

}  // namespace hf
