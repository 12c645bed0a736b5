#include <algorithm>

#include "model/forward.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// One backward pass. Gradients are called d_<what they are the gradient of>; d alone is that of an output
// which the function at hand is about. N counts rows of gradients, which are the activations' rows unless
// functions share a forward pass (GradientRows::a_rows).
class Backward {
 public:
  Backward(const Model& model, const Activations& activations, const GradientRows& rows, GradientSink& sink,
           Run& run)
      : model_(model), spec_(model.spec()), all_(activations), rows_(rows), sink_(sink), run_(run) {
    ids_ = pick_index(all_.batch.ids);
    positions_ = pick_index(all_.batch.positions);
  }

  // d_features (N, C). d_x is the gradient of the residual stream, at first above the last layer, in the end
  // below the first.
  void run(const View& d_features) {
    const int lowest = lowest_wanted(model_, sink_);
    const View d_x = arena_tensor(run_, run_.real(), d_features.shape[0], d_features.shape[1]);
    norm(model_.final_norm(), all_.final_norm, all_.x, d_features, d_x, /*add=*/false);
    for (int l = spec_.layers - 1; l >= std::max(lowest, 0); --l) {
      checkpoint(run_);
      Scratch scratch(run_);
      layer(l, d_x);
    }
    if (lowest > -1) return;
    if (sink_.wants(model_.embedding())) sink_.gather(model_.embedding(), ids_, d_x, rows_);
    if (model_.position() >= 0 && sink_.wants(model_.position()))
      sink_.gather(model_.position(), positions_, d_x, rows_);
  }

 private:
  View tensor(int64_t columns) { return arena_tensor(run_, run_.stored(), ids_.shape[0], columns); }

  // ---- activations as the rows of gradients see them ----

  // x itself, or its rows gathered when functions share the forward pass.
  View pick(const View& x) {
    if (!rows_.a_rows) return x;
    if (x.rank == 2) return gather_rows(x, rows_.a_rows, run_);
    const View matrix = gather_rows(make_view(x.data, x.dtype, x.shape[0], 1), rows_.a_rows, run_);
    return make_view(matrix.data, matrix.dtype, matrix.shape[0]);
  }
  View pick_index(const View& x) {
    if (!rows_.a_rows) return x;
    const View out = arena_tensor(run_, DType::kI32, rows_.a_rows.shape[0]);
    for (int64_t n = 0; n < out.shape[0]; ++n)
      out.as<int32_t>()[n] = x.as<int32_t>()[rows_.a_rows.as<int32_t>()[n]];
    return out;
  }
  // x of a head norm, whose rows are (token, head).
  View pick_heads(const View& x, int64_t heads) {
    if (!rows_.a_rows) return x;
    const int64_t width = x.rank == 2 ? x.shape[1] : 1;
    const View tokens = pick(make_view(x.data, x.dtype, x.shape[0] / heads, heads * width));
    return x.rank == 2 ? make_view(tokens.data, x.dtype, tokens.shape[0] * heads, x.shape[1])
                       : make_view(tokens.data, x.dtype, tokens.shape[0] * heads);
  }

  // A norm's output, kept or computed again in scratch memory.
  View output_of(const NormWeights& weights, const NormActivations& a, const View& x) {
    if (a.y) return a.y;
    NormActivations again = a;
    apply_norm(model_, weights, x, run_.stored(), again, run_);
    return again.y;
  }

  // What products are to read of d: itself, or a copy in the type that they would round it to.
  View stored(const View& d) {
    if (d.dtype == run_.stored()) return d;
    const View copy = tensor(d.shape[1]);
    copy_rows(d, copy, run_);
    return copy;
  }

  // ---- the operations of a layer ----

  // Gives the pairs to the sink and writes d_a = d W.
  void linears(std::span<const Linear> linears, const View& a, const View& d, const View& d_a) {
    int64_t column = 0;
    for (const Linear& linear : linears) {
      const View part = d.slice(1, column, linear.out());
      if (sink_.wants(linear)) sink_.linear(linear, a, part, rows_);
      dispatch(GemmArgs{.a = part, .b = linear.weight, .c = d_a, .accumulate = column > 0}, run_);
      for (const Adapter& adapter : linear.adapters)
        this->adapter(adapter, a, part.slice(1, adapter.begin, adapter.up.out()), d_a);
      column += linear.out();
    }
  }

  // The pairs of both matrices, and the way through them added to d_a.
  void adapter(const Adapter& adapter, const View& a, const View& d, const View& d_a) {
    Scratch scratch(run_);
    if (sink_.wants(adapter.up)) sink_.linear(adapter.up, adapter_input(spec_, adapter, a, run_), d, rows_);
    const View d_down = tensor(adapter.down.out());
    dispatch(GemmArgs{.a = d, .b = adapter.up.weight, .c = d_down, .alpha = spec_.lora_scale}, run_);
    if (sink_.wants(adapter.down)) sink_.linear(adapter.down, a, d_down, rows_);
    dispatch(GemmArgs{.a = d_down, .b = adapter.down.weight, .c = d_a, .accumulate = true}, run_);
  }

  // d_x = the gradient of x, or d_x += it with `add`.
  void norm(const NormWeights& weights, const NormActivations& a, const View& x, const View& d_y,
            const View& d_x, bool add) {
    Scratch scratch(run_);
    const bool gain = sink_.wants(weights.gain), bias = weights.bias >= 0 && sink_.wants(weights.bias);
    const View picked_x = pick(x), mean = pick(a.mean), rstd = pick(a.rstd);
    const View x_hat = gain ? tensor(x.shape[1]) : View{};
    dispatch(
        NormBackwardArgs{
            .x = picked_x,
            .gain = model_.weight(weights.gain),
            .mean = mean,
            .rstd = rstd,
            .d_y = d_y,
            .d_x = d_x,
            .x_hat = x_hat,
            .kind = spec_.norm,
            .add_to_d_x = add,
        },
        run_);
    if (gain || bias) sink_.norm(weights, x_hat, d_y, rows_);
  }

  // In place on d_heads (N, heads, D).
  void head_norm(int gain, const HeadNormActivations& a, const View& d_heads) {
    Scratch scratch(run_);
    const int64_t heads = d_heads.shape[1], D = a.x.shape[1], rows = d_heads.shape[0] * heads;
    const View d_y = arena_tensor(run_, a.x.dtype, rows, D), d_x = arena_tensor(run_, a.x.dtype, rows, D);
    copy_heads(d_heads, d_y, Copy::kOut, run_);
    const View x = pick_heads(a.x, heads), mean = pick_heads(a.mean, heads), rstd = pick_heads(a.rstd, heads);
    const View x_hat = sink_.wants(gain) ? arena_tensor(run_, a.x.dtype, rows, D) : View{};
    dispatch(
        NormBackwardArgs{
            .x = x,
            .gain = model_.weight(gain),
            .mean = mean,
            .rstd = rstd,
            .d_y = d_y,
            .d_x = d_x,
            .x_hat = x_hat,
            .kind = NormKind::kRms,
        },
        run_);
    if (x_hat) sink_.head_norm(gain, x_hat, d_y, heads, rows_);
    copy_heads(d_heads, d_x, Copy::kIn, run_);
  }

  // What forward() kept of layer l, or all of it computed again from its input.
  LayerActivations activations_of(int l) {
    const LayerActivations& kept = all_.layers[l];
    if (kept.qkv) return kept;
    PackedAttention attention(spec_, all_.batch.offsets);
    return forward_layer(model_, model_.layer(l), kept.x, all_.batch.positions, attention, Keep::kAll, run_);
  }

  // d: the gradient of the layer's output going in, of its input coming out. The buffers of the two branches,
  // the largest of the pass, are never held together.
  void layer(int l, const View& d) {
    const LayerActivations a = activations_of(l);
    const LayerWeights& w = model_.layer(l);
    const View d_normed = tensor(spec_.hidden_size), d_attention = tensor(spec_.heads * spec_.head_dim);
    {
      Scratch scratch(run_);
      const View d_out = stored(d);
      mlp(a, w, d_out, d_normed);
      // With a parallel residual both branches read x, so attention must see d before the MLP branch is added
      // to it.
      if (spec_.parallel_residual) linears(one(w.attention_out), a.attention, d_out, d_attention);
    }
    norm(w.mlp_norm, a.mlp_norm, mlp_norm_input(spec_, a), d_normed, d, /*add=*/true);
    if (!spec_.parallel_residual) {
      Scratch scratch(run_);
      linears(one(w.attention_out), a.attention, stored(d), d_attention);
    }
    {
      Scratch scratch(run_);
      const View d_qkv = tensor(qkv_width(spec_));
      attention(a, w, d_attention, d_qkv);
      linears(w.qkv, output_of(w.attention_norm, a.attention_norm, a.x), d_qkv, d_normed);
    }
    norm(w.attention_norm, a.attention_norm, a.x, d_normed, d, /*add=*/true);
  }

  // d is the gradient of the branch's output, d_normed that of its input.
  void mlp(const LayerActivations& a, const LayerWeights& w, const View& d, const View& d_normed) {
    Scratch scratch(run_);
    const View d_act = tensor(spec_.mlp_size), d_mlp_in = tensor(mlp_in_width(spec_));
    {
      Scratch inner(run_);
      linears(one(w.mlp_down), a.mlp_act ? a.mlp_act : activated(spec_, a.mlp_in, run_), d, d_act);
    }
    const MlpViews in = mlp_views(spec_, pick(a.mlp_in)), d_in = mlp_views(spec_, d_mlp_in);
    dispatch(
        ActivationBackwardArgs{
            .x = in.x,
            .up = in.up,
            .d_y = d_act,
            .d_x = d_in.x,
            .d_up = d_in.up,
            .kind = spec_.activation,
        },
        run_);
    linears(w.mlp_in, output_of(w.mlp_norm, a.mlp_norm, mlp_norm_input(spec_, a)), d_mlp_in, d_normed);
  }

  // From the gradient of attention's output to that of q, k and v before rotation and their norms.
  void attention(const LayerActivations& a, const LayerWeights& w, const View& d_y, const View& d_qkv) {
    const HeadViews heads = head_views(spec_, pick(a.qkv)), d_heads = head_views(spec_, d_qkv);
    const View y = pick(a.attention), lse = pick(a.lse);
    dispatch(
        AttentionBackwardArgs{
            .q = heads.q,
            .k = heads.k,
            .v = heads.v,
            .offsets = rows_.offsets,
            .y = y.split_last(spec_.heads),
            .lse = lse,
            .d_y = d_y.split_last(spec_.heads),
            .d_q = d_heads.q,
            .d_k = d_heads.k,
            .d_v = d_heads.v,
            .scale = spec_.attention_scale,
        },
        run_);
    rotate(model_, positions_, d_heads.q, /*inverse=*/true, run_);
    rotate(model_, positions_, d_heads.k, /*inverse=*/true, run_);
    if (w.q_norm >= 0) head_norm(w.q_norm, a.q_norm, d_heads.q);
    if (w.k_norm >= 0) head_norm(w.k_norm, a.k_norm, d_heads.k);
  }

  const Model& model_;
  const ModelSpec& spec_;
  const Activations& all_;
  const GradientRows rows_;
  View ids_, positions_;  // of the rows of gradients
  GradientSink& sink_;
  Run& run_;
};

}  // namespace

int lowest_wanted(const Model& model, const GradientSink& sink) {
  int lowest = model.spec().layers;
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const ParameterSpec& p = model.parameters()[i].spec;
    const bool above =
        p.role == Role::kFinalNorm || p.role == Role::kFinalNormBias || p.role == Role::kClassifier;
    if (!above && sink.wants(int(i))) lowest = std::min(lowest, p.layer);
  }
  return lowest;
}

void backward(const Model& model, const Activations& activations, const View& d_features, GradientSink& sink,
              Run& run) {
  backward(model, activations, d_features, {activations.batch.offsets, View{}}, sink, run);
}

void backward(const Model& model, const Activations& activations, const View& d_features,
              const GradientRows& rows, GradientSink& sink, Run& run) {
  Scratch scratch(run);
  Backward(model, activations, rows, sink, run).run(d_features);
}

}  // namespace hf
