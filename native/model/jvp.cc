// Forward mode: how the features move when the parameters move along a tangent vector.
#include <utility>

#include "model/forward.h"
#include "ops/op_table.h"

namespace hf {
namespace {

// One forward-mode pass. Tangents are called t_<what moves>: when the parameters move by ε · tangent, then x
// moves by ε · t_x.
class Jvp {
 public:
  Jvp(const Model& model, const Activations& activations, const View& tangent, Run& run)
      : model_(model), spec_(model.spec()), all_(activations), tangent_(tangent), run_(run) {}

  // t_features is made by the caller, below this class's scratch.
  void run(const View& t_features) {
    View t_x = tensor(spec_.hidden_size), next = tensor(spec_.hidden_size);
    const bool learned_positions = model_.position() >= 0;
    dispatch(
        EmbeddingArgs{
            .table = tangent_of(model_.embedding()),
            .ids = all_.batch.ids,
            .table2 = learned_positions ? tangent_of(model_.position()) : View{},
            .ids2 = learned_positions ? all_.batch.positions : View{},
            .y = t_x,
        },
        run_);
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

  // The tangent of a parameter, and of a matrix or a bias whose numbers begin with that parameter's.
  View tangent_of(int parameter) const { return model_.view_in(tangent_, parameter); }
  View tangent_of(View weight, int first_parameter) const {
    if (!weight) return weight;
    weight.data = tangent_of(first_parameter).data;
    weight.dtype = tangent_.dtype;
    return weight;
  }
  View tangent_of(const Linear& linear) const {
    return tangent_of(linear.weight, linear.parts.front().weight);
  }

  // ---- the operations of a layer ----

  // t_y = t_a Wᵀ + a t_Wᵀ + t_b (+ residual)
  void linears(std::span<const Linear> linears, const View& a, const View& t_a, const View& t_y,
               const View& residual) {
    int64_t column = 0;
    for (const Linear& linear : linears) {
      const View part = t_y.slice(1, column, linear.out());
      dispatch(
          GemmArgs{
              .a = t_a,
              .b = linear.weight.transposed(),
              .c = part,
              .bias = tangent_of(linear.bias, linear.parts.front().bias),
              .residual = residual,
          },
          run_);
      dispatch(GemmArgs{.a = a, .b = tangent_of(linear).transposed(), .c = part, .accumulate = true}, run_);
      for (const Adapter& adapter : linear.adapters)
        this->adapter(adapter, a, t_a, part.slice(1, adapter.begin, adapter.up.out()));
      column += linear.out();
    }
  }

  // t_y += s (t_a Aᵀ + a t_Aᵀ) Bᵀ + s a Aᵀ t_Bᵀ
  void adapter(const Adapter& adapter, const View& a, const View& t_a, const View& t_y) {
    Scratch scratch(run_);
    const View t_down = adapter_input(spec_, adapter, t_a, run_);
    dispatch(
        GemmArgs{
            .a = a,
            .b = tangent_of(adapter.down).transposed(),
            .c = t_down,
            .alpha = spec_.lora_scale,
            .accumulate = true,
        },
        run_);
    dispatch(GemmArgs{.a = t_down, .b = adapter.up.weight.transposed(), .c = t_y, .accumulate = true}, run_);
    const View down = adapter_input(spec_, adapter, a, run_);
    dispatch(GemmArgs{.a = down, .b = tangent_of(adapter.up).transposed(), .c = t_y, .accumulate = true},
             run_);
  }

  void norm(const NormWeights& weights, const NormActivations& a, const View& x, const View& t_x,
            const View& t_y) {
    dispatch(
        NormJvpArgs{
            .x = x,
            .gain = model_.weight(weights.gain),
            .mean = a.mean,
            .rstd = a.rstd,
            .t_x = t_x,
            .t_gain = tangent_of(weights.gain),
            .t_bias = weights.bias >= 0 ? tangent_of(weights.bias) : View{},
            .t_y = t_y,
            .kind = spec_.norm,
        },
        run_);
  }

  // In place on t_heads (N, heads, D).
  void head_norm(int gain, const HeadNormActivations& a, const View& t_heads) {
    Scratch scratch(run_);
    const int64_t rows = a.x.shape[0], D = a.x.shape[1];
    const View t_x = arena_tensor(run_, a.x.dtype, rows, D), t_y = arena_tensor(run_, a.x.dtype, rows, D);
    copy_heads(t_heads, t_x, Copy::kOut, run_);
    dispatch(
        NormJvpArgs{
            .x = a.x,
            .gain = model_.weight(gain),
            .mean = a.mean,
            .rstd = a.rstd,
            .t_x = t_x,
            .t_gain = tangent_of(gain),
            .t_y = t_y,
            .kind = NormKind::kRms,
        },
        run_);
    copy_heads(t_heads, t_y, Copy::kIn, run_);
  }

  void layer(int l, const View& t_x, const View& t_out) {
    const LayerActivations& a = all_.layers[l];
    const LayerWeights& w = model_.layer(l);
    const View t_normed = tensor(spec_.hidden_size), t_qkv = tensor(qkv_width(spec_)),
               t_attention = tensor(spec_.heads * spec_.head_dim);
    norm(w.attention_norm, a.attention_norm, a.x, t_x, t_normed);
    linears(w.qkv, a.attention_norm.y, t_normed, t_qkv, View{});
    attention(a, w, t_qkv, t_attention);
    const View t_middle = tensor(spec_.hidden_size);
    linears(one(w.attention_out), a.attention, t_attention, t_middle, t_x);

    norm(w.mlp_norm, a.mlp_norm, mlp_norm_input(spec_, a), spec_.parallel_residual ? t_x : t_middle,
         t_normed);
    const View t_mlp_in = tensor(mlp_in_width(spec_)), t_act = tensor(spec_.mlp_size);
    linears(w.mlp_in, a.mlp_norm.y, t_normed, t_mlp_in, View{});
    const MlpViews in = mlp_views(spec_, a.mlp_in), t_in = mlp_views(spec_, t_mlp_in);
    dispatch(
        ActivationJvpArgs{
            .x = in.x,
            .up = in.up,
            .t_x = t_in.x,
            .t_up = t_in.up,
            .t_y = t_act,
            .kind = spec_.activation,
        },
        run_);
    linears(one(w.mlp_down), a.mlp_act, t_act, t_out, t_middle);
  }

  // From the tangents of q, k and v before their norms and rotation to that of attention's output.
  void attention(const LayerActivations& a, const LayerWeights& w, const View& t_qkv, const View& t_y) {
    const HeadViews heads = head_views(spec_, a.qkv), t_heads = head_views(spec_, t_qkv);
    if (w.q_norm >= 0) head_norm(w.q_norm, a.q_norm, t_heads.q);
    if (w.k_norm >= 0) head_norm(w.k_norm, a.k_norm, t_heads.k);
    rotate(model_, all_.batch.positions, t_heads.q, /*inverse=*/false, run_);
    rotate(model_, all_.batch.positions, t_heads.k, /*inverse=*/false, run_);
    dispatch(
        AttentionJvpArgs{
            .q = heads.q,
            .k = heads.k,
            .v = heads.v,
            .offsets = all_.batch.offsets,
            .y = a.attention.split_last(spec_.heads),
            .lse = a.lse,
            .t_q = t_heads.q,
            .t_k = t_heads.k,
            .t_v = t_heads.v,
            .t_y = t_y.split_last(spec_.heads),
            .scale = spec_.attention_scale,
        },
        run_);
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
