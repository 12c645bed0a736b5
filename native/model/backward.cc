#include <algorithm>

#include "model/forward.h"
#include "ops/op_table.h"

namespace hf {
namespace {

class Backward {
 public:
  Backward(const Model& model, const Activations& activations, const GradientRows& rows, GradientSink& sink,
           Run& run)
      : model_(model), spec_(model.spec()), all_(activations), rows_(rows), sink_(sink), run_(run) {
    ids_ = pick_index(all_.batch.ids), positions_ = pick_index(all_.batch.positions);
  }

  // d (N, C): in, the gradient of the features; on the way down, of the residual stream.
  void run(const View& d) {
    const int lowest = lowest_wanted(model_, sink_);
    const View d_x = arena_tensor(run_, run_.real(), d.shape[0], d.shape[1]);
    norm(model_.final_norm(), all_.final_norm, all_.x, d, d_x, /*add=*/false);
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

  // What products are to read of d: itself, or a copy in the type that they would round it to.
  View stored(const View& d) {
    if (d.dtype == run_.stored()) return d;
    const View copy = tensor(d.shape[1]);
    copy_rows(d, copy, run_);
    return copy;
  }

  // An activation seen by the rows of d: itself, or its rows gathered when functions share the forward pass.
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
  // Rows (token, head) of a head norm's activations.
  View pick_heads(const View& x, int64_t heads) {
    if (!rows_.a_rows) return x;
    const View tokens =
        pick(make_view(x.data, x.dtype, x.shape[0] / heads, heads * (x.rank == 2 ? x.shape[1] : 1)));
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

  // Gives the pair to the sink and returns d W in `d_a`.
  void linears(const Linear* linears, size_t count, const View& a, const View& d, const View& d_a) {
    int64_t column = 0;
    for (size_t i = 0; i < count; ++i) {
      const View part = d.slice(1, column, linears[i].out());
      if (sink_.wants(linears[i])) sink_.linear(linears[i], a, part, rows_);
      GemmArgs args;
      args.a = part, args.b = linears[i].weight, args.c = d_a, args.accumulate = i > 0;
      dispatch(args, run_);
      for (const Adapter& adapter : linears[i].adapters)
        this->adapter(adapter, a, part.slice(1, adapter.begin, adapter.up.out()), d_a);
      column += linears[i].out();
    }
  }

  // Both matrices' pairs, and the way through them added to d_a.
  void adapter(const Adapter& adapter, const View& a, const View& d, const View& d_a) {
    Scratch scratch(run_);
    if (sink_.wants(adapter.up)) sink_.linear(adapter.up, adapter_input(spec_, adapter, a, run_), d, rows_);
    GemmArgs args;
    args.a = d, args.b = adapter.up.weight, args.c = tensor(adapter.down.out()),
    args.alpha = spec_.lora_scale;
    dispatch(args, run_);
    const View d_down = args.c;
    if (sink_.wants(adapter.down)) sink_.linear(adapter.down, a, d_down, rows_);
    GemmArgs down;
    down.a = d_down, down.b = adapter.down.weight, down.c = d_a, down.accumulate = true;
    dispatch(down, run_);
  }

  void norm(const NormWeights& weights, const NormActivations& a, const View& x, const View& d_y,
            const View& d_x, bool add) {
    Scratch scratch(run_);
    const bool gain = sink_.wants(weights.gain), bias = weights.bias >= 0 && sink_.wants(weights.bias);
    NormBackwardArgs args;
    args.x = pick(x), args.gain = model_.weight(weights.gain), args.mean = pick(a.mean),
    args.rstd = pick(a.rstd), args.d_y = d_y, args.d_x = d_x;
    args.kind = spec_.norm, args.add_to_d_x = add;
    if (gain) args.x_hat = tensor(x.shape[1]);
    dispatch(args, run_);
    if (gain || bias) sink_.norm(weights, args.x_hat, d_y, rows_);
  }

  void head_norm(int gain, const HeadNormActivations& a, const View& d_heads) {
    Scratch scratch(run_);
    const int64_t heads = d_heads.shape[1], D = a.x.shape[1], rows = d_heads.shape[0] * heads;
    const View d_y = arena_tensor(run_, a.x.dtype, rows, D), d_x = arena_tensor(run_, a.x.dtype, rows, D);
    copy_heads(d_heads, d_y, Copy::kOut, run_);
    NormBackwardArgs args;
    args.x = pick_heads(a.x, heads), args.gain = model_.weight(gain), args.mean = pick_heads(a.mean, heads),
    args.rstd = pick_heads(a.rstd, heads);
    args.d_y = d_y, args.d_x = d_x;
    args.kind = NormKind::kRms;
    if (sink_.wants(gain)) args.x_hat = arena_tensor(run_, a.x.dtype, rows, D);
    dispatch(args, run_);
    if (args.x_hat) sink_.head_norm(gain, args.x_hat, d_y, heads, rows_);
    copy_heads(d_heads, d_x, Copy::kIn, run_);
  }

  // d: gradient of the layer's output in, of its input out. The branches' buffers, the largest of the pass,
  // are never held together.
  void layer(int l, const View& d) {
    const LayerActivations& kept = all_.layers[l];
    const LayerActivations a =
        kept.qkv ? kept : forward_layer(model_, l, kept.x, all_.batch, Keep::kAll, run_);
    const LayerWeights& w = model_.layer(l);
    const View d_normed = tensor(spec_.hidden_size), d_attention = tensor(spec_.heads * spec_.head_dim);
    {
      Scratch scratch(run_);
      const View d_out = stored(d);
      mlp(a, w, d_out, d_normed);
      // With a parallel residual both branches read x, so attention must see d before the MLP branch is added
      // to it.
      if (spec_.parallel_residual) linears(&w.attention_out, 1, a.attention, d_out, d_attention);
    }
    norm(w.mlp_norm, a.mlp_norm, spec_.parallel_residual ? a.x : a.middle, d_normed, d, /*add=*/true);
    if (!spec_.parallel_residual) {
      Scratch scratch(run_);
      linears(&w.attention_out, 1, a.attention, stored(d), d_attention);
    }
    {
      Scratch scratch(run_);
      const View d_qkv = tensor(a.qkv.shape[1]);
      attention(a, w, d_attention, d_qkv);
      linears(w.qkv.data(), w.qkv.size(), output_of(w.attention_norm, a.attention_norm, a.x), d_qkv,
              d_normed);
    }
    norm(w.attention_norm, a.attention_norm, a.x, d_normed, d, /*add=*/true);
  }

  void mlp(const LayerActivations& a, const LayerWeights& w, const View& d, const View& d_normed) {
    Scratch scratch(run_);
    const View d_act = tensor(spec_.mlp_size), d_in = tensor(a.mlp_in.shape[1]);
    {
      Scratch inner(run_);
      linears(&w.mlp_down, 1, a.mlp_act ? a.mlp_act : activated(spec_, a.mlp_in, run_), d, d_act);
    }
    ActivationBackwardArgs activation;
    activation.kind = spec_.activation, activation.d_y = d_act;
    const View mlp_in = pick(a.mlp_in);
    activation.x = mlp_in.slice(1, 0, spec_.mlp_size), activation.d_x = d_in.slice(1, 0, spec_.mlp_size);
    if (spec_.activation == ActivationKind::kSiluGate)
      activation.up = mlp_in.slice(1, spec_.mlp_size, spec_.mlp_size),
      activation.d_up = d_in.slice(1, spec_.mlp_size, spec_.mlp_size);
    dispatch(activation, run_);
    linears(w.mlp_in.data(), w.mlp_in.size(),
            output_of(w.mlp_norm, a.mlp_norm, spec_.parallel_residual ? a.x : a.middle), d_in, d_normed);
  }

  void attention(const LayerActivations& a, const LayerWeights& w, const View& d_y, const View& d_qkv) {
    const HeadViews heads = head_views(spec_, pick(a.qkv)), d_heads = head_views(spec_, d_qkv);
    AttentionBackwardArgs args;
    args.q = heads.q, args.k = heads.k, args.v = heads.v, args.offsets = rows_.offsets;
    args.y = pick(a.attention).split_last(spec_.heads), args.lse = pick(a.lse),
    args.d_y = d_y.split_last(spec_.heads);
    args.d_q = d_heads.q, args.d_k = d_heads.k, args.d_v = d_heads.v, args.scale = spec_.attention_scale;
    dispatch(args, run_);
    rotate(model_, positions_, d_heads.q, true, run_);
    rotate(model_, positions_, d_heads.k, true, run_);
    if (w.q_norm >= 0) head_norm(w.q_norm, a.q_norm, d_heads.q);
    if (w.k_norm >= 0) head_norm(w.k_norm, a.k_norm, d_heads.k);
  }

  const Model& model_;
  const ModelSpec& spec_;
  const Activations& all_;
  const GradientRows rows_;
  View ids_, positions_;  // of the rows of d
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
    if (!above && sink.wants(int(i)) && p.layer < lowest) lowest = p.layer;
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
