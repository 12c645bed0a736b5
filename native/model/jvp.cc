// Forward mode: how the features move when the parameters move along a tangent vector.
#include <utility>

#include "model/forward.h"
#include "ops/op_table.h"

namespace hf {
namespace {

class Jvp {
 public:
  Jvp(const Model& model, const Activations& activations, const View& tangent, Run& run)
      : model_(model), spec_(model.spec()), all_(activations), tangent_(tangent), run_(run) {}

  // t_features is made by the caller, below this class's scratch.
  void run(const View& t_features) {
    View t_x = tensor(spec_.hidden_size), next = tensor(spec_.hidden_size);
    EmbeddingArgs args;
    args.table = part(model_.embedding()), args.ids = all_.batch.ids, args.y = t_x;
    if (model_.position() >= 0) args.table2 = part(model_.position()), args.ids2 = all_.batch.positions;
    dispatch(args, run_);
    for (int l = 0; l < spec_.layers; ++l) {
      checkpoint(run_);
      Scratch scratch(run_);
      layer(l, t_x, next);
      std::swap(t_x, next);
    }
    norm(model_.final_norm(), all_.final_norm, all_.x, t_x, t_features);
  }

 private:
  View tensor(int64_t columns) { return arena_tensor(run_, run_.real(), all_.batch.rows(), columns); }
  View part(int parameter) const { return model_.view_in(tangent_, parameter); }
  // `view` begins with that parameter's numbers: the same place in the tangent vector.
  View tangent_of(View view, int parameter) const {
    if (view) view.data = part(parameter).data, view.dtype = tangent_.dtype;
    return view;
  }
  View tangent_of(const Linear& linear) const {
    return tangent_of(linear.weight, linear.parts.front().weight);
  }

  // t_y = t_a Wᵀ + a t_Wᵀ + t_b (+ residual)
  void linears(const Linear* linears, size_t count, const View& a, const View& t_a, const View& t_y,
               const View& residual) {
    int64_t column = 0;
    for (size_t i = 0; i < count; ++i) {
      GemmArgs args;
      args.a = t_a, args.b = linears[i].weight.transposed(), args.c = t_y.slice(1, column, linears[i].out());
      args.bias = tangent_of(linears[i].bias, linears[i].parts.front().bias), args.residual = residual;
      dispatch(args, run_);
      args.a = a, args.b = tangent_of(linears[i]).transposed(), args.bias = View{}, args.residual = View{},
      args.accumulate = true;
      dispatch(args, run_);
      for (const Adapter& adapter : linears[i].adapters)
        this->adapter(adapter, a, t_a, t_y.slice(1, column + adapter.begin, adapter.up.out()));
      column += linears[i].out();
    }
  }

  // t_y += s (t_a Aᵀ + a t_Aᵀ) Bᵀ + s a Aᵀ t_Bᵀ
  void adapter(const Adapter& adapter, const View& a, const View& t_a, const View& t_y) {
    Scratch scratch(run_);
    const View t_h = adapter_input(spec_, adapter, t_a, run_);
    GemmArgs moved;
    moved.a = a, moved.b = tangent_of(adapter.down).transposed(), moved.c = t_h,
    moved.alpha = spec_.lora_scale, moved.accumulate = true;
    dispatch(moved, run_);
    GemmArgs up;
    up.a = t_h, up.b = adapter.up.weight.transposed(), up.c = t_y, up.accumulate = true;
    dispatch(up, run_);
    up.a = adapter_input(spec_, adapter, a, run_), up.b = tangent_of(adapter.up).transposed();
    dispatch(up, run_);
  }

  void norm(const NormWeights& weights, const NormActivations& a, const View& x, const View& t_x,
            const View& t_y) {
    NormJvpArgs args;
    args.x = x, args.gain = model_.weight(weights.gain), args.mean = a.mean, args.rstd = a.rstd,
    args.t_x = t_x;
    args.t_gain = part(weights.gain), args.t_y = t_y, args.kind = spec_.norm;
    if (weights.bias >= 0) args.t_bias = part(weights.bias);
    dispatch(args, run_);
  }

  void head_norm(int gain, const HeadNormActivations& a, const View& t_heads) {
    Scratch scratch(run_);
    const View t_x = arena_tensor(run_, a.x.dtype, a.x.shape[0], a.x.shape[1]),
               t_y = arena_tensor(run_, a.x.dtype, a.x.shape[0], a.x.shape[1]);
    copy_heads(t_heads, t_x, Copy::kOut, run_);
    NormJvpArgs args;
    args.x = a.x, args.gain = model_.weight(gain), args.mean = a.mean, args.rstd = a.rstd, args.t_x = t_x,
    args.t_gain = part(gain), args.t_y = t_y;
    args.kind = NormKind::kRms;
    dispatch(args, run_);
    copy_heads(t_heads, t_y, Copy::kIn, run_);
  }

  void layer(int l, const View& t_x, const View& t_out) {
    const LayerActivations& a = all_.layers[l];
    const LayerWeights& w = model_.layer(l);
    const View t_normed = tensor(spec_.hidden_size), t_qkv = tensor(a.qkv.shape[1]),
               t_attention = tensor(spec_.heads * spec_.head_dim);
    norm(w.attention_norm, a.attention_norm, a.x, t_x, t_normed);
    linears(w.qkv.data(), w.qkv.size(), a.attention_norm.y, t_normed, t_qkv, View{});
    const HeadViews heads = head_views(spec_, a.qkv), t_heads = head_views(spec_, t_qkv);
    if (w.q_norm >= 0) head_norm(w.q_norm, a.q_norm, t_heads.q);
    if (w.k_norm >= 0) head_norm(w.k_norm, a.k_norm, t_heads.k);
    rotate(model_, all_.batch.positions, t_heads.q, false, run_);
    rotate(model_, all_.batch.positions, t_heads.k, false, run_);
    AttentionJvpArgs args;
    args.q = heads.q, args.k = heads.k, args.v = heads.v, args.offsets = all_.batch.offsets;
    args.y = a.attention.split_last(spec_.heads), args.lse = a.lse, args.scale = spec_.attention_scale;
    args.t_q = t_heads.q, args.t_k = t_heads.k, args.t_v = t_heads.v,
    args.t_y = t_attention.split_last(spec_.heads);
    dispatch(args, run_);
    const View t_middle = tensor(spec_.hidden_size);
    linears(&w.attention_out, 1, a.attention, t_attention, t_middle, t_x);

    norm(w.mlp_norm, a.mlp_norm, spec_.parallel_residual ? a.x : a.middle,
         spec_.parallel_residual ? t_x : t_middle, t_normed);
    const View t_in = tensor(a.mlp_in.shape[1]), t_act = tensor(spec_.mlp_size);
    linears(w.mlp_in.data(), w.mlp_in.size(), a.mlp_norm.y, t_normed, t_in, View{});
    ActivationJvpArgs activation;
    activation.kind = spec_.activation, activation.t_y = t_act;
    activation.x = a.mlp_in.slice(1, 0, spec_.mlp_size), activation.t_x = t_in.slice(1, 0, spec_.mlp_size);
    if (spec_.activation == ActivationKind::kSiluGate)
      activation.up = a.mlp_in.slice(1, spec_.mlp_size, spec_.mlp_size),
      activation.t_up = t_in.slice(1, spec_.mlp_size, spec_.mlp_size);
    dispatch(activation, run_);
    linears(&w.mlp_down, 1, a.mlp_act, t_act, t_out, t_middle);
  }

  const Model& model_;
  const ModelSpec& spec_;
  const Activations& all_;
  const View& tangent_;
  Run& run_;
};

}  // namespace

View jvp(const Model& model, const Activations& activations, const View& tangent, Run& run) {
  const View t_features = arena_tensor(run, run.real(), activations.batch.rows(), model.spec().hidden_size);
  Scratch scratch(run);
  Jvp(model, activations, tangent, run).run(t_features);
  return t_features;
}

}  // namespace hf
