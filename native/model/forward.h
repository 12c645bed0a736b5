// The transformer: forward, backward and forward mode, written once on the op table. Sequences are packed:
// the rows of all of them one after the other, no padding.
#pragma once

#include <vector>

#include "model/layer.h"
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

// Sequences whose ids and offsets are given, with positions counted. offsets may begin anywhere in ids.
// Everything is copied into the run's arena.
Batch make_batch(const int32_t* ids, const int32_t* offsets, int64_t sequences, Run& run);

// What forward() leaves behind, in the run's arena.
struct Activations {
  Batch batch;
  std::vector<LayerActivations> layers;
  View x;                      // (N, C) residual stream out of the last layer
  NormActivations final_norm;  // .y = φ, the features (N, C)

  const View& features() const { return final_norm.y; }
};

// Of layers below first_kept nothing is kept, whatever `keep` says.
Activations forward(const Model& model, const Batch& batch, Keep keep, Run& run, int first_kept = 0);

// The lowest layer that holds a wanted parameter, where backward() stops; −1: the embeddings do; the number
// of layers: none does.
int lowest_wanted(const Model& model, const GradientSink& sink);
// Gives every wanted parameter's pair to the sink, from the top down to the lowest layer that the sink wants.
// d_features (N, C) is only read.
void backward(const Model& model, const Activations& activations, const View& d_features, GradientSink& sink,
              Run& run);
// The same for functions that share the forward pass: row n of d_features belongs to activation row
// rows.a_rows[n], and function s, which owns rows rows.offsets[s] … rows.offsets[s+1] − 1, has the leading
// rows of one sequence in order.
void backward(const Model& model, const Activations& activations, const View& d_features,
              const GradientRows& rows, GradientSink& sink, Run& run);

// Tangent of the features (N, C) along `tangent`, a flat vector in the model's layout (P).
View jvp(const Model& model, const Activations& activations, const View& tangent, Run& run);

// The rows that enter the first layer: the tokens' embeddings, with those of their positions in models that
// learn them.
void embed(const Model& model, const View& ids, const View& positions, const View& y, Run& run);
// z (R, V) = hidden Wᵀ of the classifier.
void logits(const Model& model, const View& hidden, const View& z, Run& run);
// Rows of x (N, C) → (M, C), by an index (M).
View gather_rows(const View& x, const View& rows, Run& run);
// d_x (N, C) of x's rows from those of gather_rows: d_x[rows[m]] += d_y[m].
void scatter_rows(const View& d_y, const View& rows, const View& d_x, Run& run);

// weight W + scale · B A of a linear layer, as it is stored, into out: what a model without adapters must
// hold to compute the same.
void merged_weight(const Model& model, int parameter, const View& out, Run& run);

}  // namespace hf
