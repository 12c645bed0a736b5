// The transformer, forward, backward and forward-mode, written once on the op table. Sequences are packed:
// rows of all of them one after the other, no padding.
#pragma once

#include <vector>

#include "model/model.h"
#include "model/sink.h"
#include "runtime/run.h"

namespace hf {

struct Batch {
  View ids;        // (N) i32
  View positions;  // (N) i32, from 0 in every sequence
  View offsets;    // (S+1) i32: sequence s owns rows offsets[s] … offsets[s+1] − 1

  int64_t rows() const { return ids.shape[0]; }
};

// ids and offsets as given, positions counted, all in the run's arena.
Batch make_batch(const int32_t* ids, const int32_t* offsets, int64_t sequences, Run& run);

struct NormActivations {
  View y, mean, rstd;
};
// A q or k norm works head by head, on copies (N·heads, D) with rows (token, head).
struct HeadNormActivations {
  View x, mean, rstd;
};
struct LayerActivations {
  View x;  // (N, C) residual stream in
  NormActivations attention_norm;
  View qkv;  // (N, (H + 2G) D), after rotation
  HeadNormActivations q_norm, k_norm;
  View attention, lse;  // (N, H D), (N, H)
  View middle;          // (N, C) residual stream after attention
  NormActivations mlp_norm;
  View mlp_in;   // (N, F), or (N, 2F) = gate, up
  View mlp_act;  // (N, F)
};
struct Activations {
  Batch batch;
  std::vector<LayerActivations> layers;
  View x;                      // (N, C) residual stream out of the last layer
  NormActivations final_norm;  // .y = φ, the features (N, C)

  const View& features() const { return final_norm.y; }
};

// kFeatures: only what features() needs. kLess: all but what is cheap to compute again, the outputs of norms
// and of the nonlinearity; a sink then sees them only while it is called. kInputs: every layer's x besides,
// from which backward() computes the rest of a layer again when it gets there (gradient checkpointing; Chen
// et al. 2016, 1604.06174): the same operations on the same numbers, so the same bits.
enum class Keep { kAll, kLess, kInputs, kFeatures };

// Heads of a fused (N, (H + 2G) D) tensor as (N, H, D), (N, G, D), (N, G, D).
struct HeadViews {
  View q, k, v;
};
HeadViews head_views(const ModelSpec& spec, const View& qkv);

enum class Copy { kIn, kOut };
// kOut: strided heads (N, H, D) into packed rows (N·H, D); kIn: back.
void copy_heads(const View& heads, const View& rows, Copy direction, Run& run);
// y = x, rows (N, C) that may each be apart.
void copy_rows(const View& x, const View& y, Run& run);
// Rotary embedding of heads (N, H, D), in place; nothing without rotary frequencies.
void rotate(const Model& model, const View& positions, const View& heads, bool inverse, Run& run);
void embed(const Model& model, const View& ids, const View& positions, const View& y, Run& run);
// The MLP's nonlinearity: in (N, F) or (N, 2F) to y (N, F).
void activate(const ModelSpec& spec, const View& in, const View& y, Run& run);
// … in the arena.
View activated(const ModelSpec& spec, const View& in, Run& run);
// y = a Wᵀ + b (+ residual) over all of `linears`, side by side, adapters included.
void apply_linears(const ModelSpec& spec, const Linear* linears, size_t count, const View& a, const View& y,
                   const View& residual, Run& run);
// scale · a Aᵀ (N, r) of an adapter.
View adapter_input(const ModelSpec& spec, const Adapter& adapter, const View& a, Run& run);
// y (N, C) of a norm in the arena, with its statistics.
void apply_norm(const Model& model, const NormWeights& weights, const View& x, DType dtype,
                NormActivations& out, Run& run);
// Everything of layer l but its output, from its input x (N, C). With kLess, neither the norms' outputs nor
// mlp_act.
LayerActivations forward_layer(const Model& model, int l, const View& x, const Batch& batch, Keep keep,
                               Run& run);
// weight W + scale · B A of a linear layer, as it is stored, into out: what a model without adapters must
// hold to compute the same.
void merged_weight(const Model& model, int parameter, const View& out, Run& run);
// Activations live in the run's arena. Of layers below first_kept nothing is kept, whatever `keep` says.
Activations forward(const Model& model, const Batch& batch, Keep keep, Run& run, int first_kept = 0);
// The lowest layer that holds a wanted parameter, where backward() stops; −1: the embeddings do; layers + 0:
// none does.
int lowest_wanted(const Model& model, const GradientSink& sink);
// d_features (N, C) is only read. Stops at the lowest layer that the sink wants.
void backward(const Model& model, const Activations& activations, const View& d_features, GradientSink& sink,
              Run& run);
// The same for functions that share the forward pass: row n of d_features belongs to activation row
// rows.a_rows[n], and function s, which owns rows rows.offsets[s] … rows.offsets[s+1] − 1, has the leading
// rows of one sequence in order.
void backward(const Model& model, const Activations& activations, const View& d_features,
              const GradientRows& rows, GradientSink& sink, Run& run);

// Rows of x (N, C) → (M, C), by an index (M).
View gather_rows(const View& x, const View& rows, Run& run);
// Tangent of the features (N, C) along `tangent`, a flat vector in the model's layout (P).
View jvp(const Model& model, const Activations& activations, const View& tangent, Run& run);

// z (R, V) = hidden Wᵀ.
void logits(const Model& model, const View& hidden, const View& z, Run& run);

}  // namespace hf
