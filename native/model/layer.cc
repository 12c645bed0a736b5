#include "model/layer.h"

#include "ops/op_table.h"

namespace hf {
namespace {

// Copies the heads (N, heads, D) out, normalises each over D, and writes them back.
HeadNormActivations apply_head_norm(const Model& model, int gain, const View& heads, Run& run) {
  const int64_t rows = heads.shape[0] * heads.shape[1], D = heads.shape[2];
  const HeadNormActivations out{
      .x = arena_tensor(run, run.real(), rows, D),
      .mean = arena_tensor(run, run.real(), rows),
      .rstd = arena_tensor(run, run.real(), rows),
  };
  const View y = arena_tensor(run, run.real(), rows, D);
  copy_heads(heads, out.x, Copy::kOut, run);
  dispatch(
      NormArgs{
          .x = out.x,
          .gain = model.weight(gain),
          .y = y,
          .mean = out.mean,
          .rstd = out.rstd,
          .kind = NormKind::kRms,
          .eps = model.spec().norm_eps,
      },
      run);
  copy_heads(heads, y, Copy::kIn, run);
  return out;
}

// y = norm(x) Wᵀ + b. The norm's output stays in `out`, unless `keep` says less.
void apply_normed_linears(const Model& model, const NormWeights& norm, const View& x, NormActivations& out,
                          std::span<const Linear> linears, const View& y, Keep keep, Run& run) {
  const ArenaMark mark = arena_mark(run);
  apply_norm(model, norm, x, run.stored(), out, run);
  apply_linears(model.spec(), linears, out.y, y, View{}, run);
  if (keep != Keep::kLess) return;
  arena_release(run, mark);
  out.y = View{};
}

}  // namespace

int64_t qkv_width(const ModelSpec& spec) {
  return (spec.heads + 2 * spec.kv_heads) * spec.head_dim;
}

HeadViews head_views(const ModelSpec& spec, const View& qkv) {
  const int64_t H = spec.heads, G = spec.kv_heads, D = spec.head_dim;
  if (spec.qkv_layout == QkvLayout::kBlocks)
    return {
        .q = qkv.slice(1, 0, H * D).split_last(H),
        .k = qkv.slice(1, H * D, G * D).split_last(G),
        .v = qkv.slice(1, (H + G) * D, G * D).split_last(G),
    };
  const View heads = qkv.split_last(H);  // (N, H, 3D)
  return {
      .q = heads.slice(2, 0, D),
      .k = heads.slice(2, D, D),
      .v = heads.slice(2, 2 * D, D),
  };
}

int64_t mlp_in_width(const ModelSpec& spec) {
  return spec.activation == ActivationKind::kSiluGate ? 2 * spec.mlp_size : spec.mlp_size;
}

MlpViews mlp_views(const ModelSpec& spec, const View& mlp_in) {
  const int64_t F = spec.mlp_size;
  const bool gated = spec.activation == ActivationKind::kSiluGate;
  return {.x = mlp_in.slice(1, 0, F), .up = gated ? mlp_in.slice(1, F, F) : View{}};
}

const View& mlp_norm_input(const ModelSpec& spec, const LayerActivations& activations) {
  return spec.parallel_residual ? activations.x : activations.middle;
}

View PackedAttention::attend(const HeadViews& heads, const View& y, Run& run) {
  const View lse = arena_tensor(run, run.real(), y.shape[0], spec_.heads);
  dispatch(
      AttentionArgs{
          .q = heads.q,
          .k = heads.k,
          .v = heads.v,
          .offsets = offsets_,
          .y = y,
          .lse = lse,
          .scale = spec_.attention_scale,
      },
      run);
  return lse;
}

LayerActivations forward_layer(const Model& model, const LayerWeights& weights, const View& x,
                               const View& positions, AttentionStep& attention, Keep keep, Run& run) {
  const ModelSpec& spec = model.spec();
  const int64_t N = x.shape[0];
  LayerActivations a;
  a.x = x;
  a.attention_norm = norm_statistics(x, run);
  a.qkv = arena_tensor(run, run.stored(), N, qkv_width(spec));
  apply_normed_linears(model, weights.attention_norm, x, a.attention_norm, weights.qkv, a.qkv, keep, run);

  const HeadViews heads = head_views(spec, a.qkv);
  if (weights.q_norm >= 0) a.q_norm = apply_head_norm(model, weights.q_norm, heads.q, run);
  if (weights.k_norm >= 0) a.k_norm = apply_head_norm(model, weights.k_norm, heads.k, run);
  rotate(model, positions, heads.q, /*inverse=*/false, run);
  rotate(model, positions, heads.k, /*inverse=*/false, run);
  a.attention = arena_tensor(run, run.stored(), N, spec.heads * spec.head_dim);
  a.lse = attention.attend(heads, a.attention.split_last(spec.heads), run);
  a.middle = arena_tensor(run, x.dtype, N, spec.hidden_size);
  apply_linears(spec, one(weights.attention_out), a.attention, a.middle, x, run);

  const View& mlp_x = mlp_norm_input(spec, a);
  a.mlp_norm = norm_statistics(mlp_x, run);
  a.mlp_in = arena_tensor(run, run.stored(), N, mlp_in_width(spec));
  apply_normed_linears(model, weights.mlp_norm, mlp_x, a.mlp_norm, weights.mlp_in, a.mlp_in, keep, run);
  if (keep != Keep::kLess) a.mlp_act = activated(spec, a.mlp_in, run);
  return a;
}

void layer_output(const Model& model, const LayerWeights& weights, const LayerActivations& activations,
                  const View& y, Run& run) {
  Scratch scratch(run);
  const ModelSpec& spec = model.spec();
  const View mlp_act = activations.mlp_act ? activations.mlp_act : activated(spec, activations.mlp_in, run);
  apply_linears(spec, one(weights.mlp_down), mlp_act, y, activations.middle, run);
}

void apply_linears(const ModelSpec& spec, std::span<const Linear> linears, const View& a, const View& y,
                   const View& residual, Run& run) {
  int64_t column = 0;
  for (const Linear& linear : linears) {
    dispatch(
        GemmArgs{
            .a = a,
            .b = linear.weight.transposed(),
            .c = y.slice(1, column, linear.out()),
            .bias = linear.bias,
            .residual = residual,
            .packed_b = linear.packed,
        },
        run);
    for (const Adapter& adapter : linear.adapters) {
      Scratch scratch(run);
      dispatch(
          GemmArgs{
              .a = adapter_input(spec, adapter, a, run),
              .b = adapter.up.weight.transposed(),
              .c = y.slice(1, column + adapter.begin, adapter.up.out()),
              .accumulate = true,
          },
          run);
    }
    column += linear.out();
  }
}

View adapter_input(const ModelSpec& spec, const Adapter& adapter, const View& a, Run& run) {
  const View down = arena_tensor(run, a.dtype, a.shape[0], adapter.down.out());
  dispatch(GemmArgs{.a = a, .b = adapter.down.weight.transposed(), .c = down, .alpha = spec.lora_scale}, run);
  return down;
}

NormActivations norm_statistics(const View& x, Run& run) {
  return {
      .y = View{},
      .mean = arena_tensor(run, x.dtype, x.shape[0]),
      .rstd = arena_tensor(run, x.dtype, x.shape[0]),
  };
}

void apply_norm(const Model& model, const NormWeights& weights, const View& x, DType dtype,
                NormActivations& out, Run& run) {
  out.y = arena_tensor(run, dtype, x.shape[0], x.shape[1]);
  dispatch(
      NormArgs{
          .x = x,
          .gain = model.weight(weights.gain),
          .bias = model.weight_or_none(weights.bias),
          .y = out.y,
          .mean = out.mean,
          .rstd = out.rstd,
          .kind = model.spec().norm,
          .eps = model.spec().norm_eps,
      },
      run);
}

View activated(const ModelSpec& spec, const View& mlp_in, Run& run) {
  const View y = arena_tensor(run, run.stored(), mlp_in.shape[0], spec.mlp_size);
  const MlpViews in = mlp_views(spec, mlp_in);
  dispatch(ActivationArgs{.x = in.x, .up = in.up, .y = y, .kind = spec.activation}, run);
  return y;
}

void rotate(const Model& model, const View& positions, const View& heads, bool inverse, Run& run) {
  const ModelSpec& spec = model.spec();
  if (spec.inv_freq.empty()) return;
  double* frequencies = const_cast<double*>(spec.inv_freq.data());
  dispatch(
      RopeArgs{
          .x = heads,
          .positions = positions,
          .inv_freq = make_view(frequencies, DType::kF64, int64_t(spec.inv_freq.size())),
          .scale = spec.rotary_scale,
          .inverse = inverse,
      },
      run);
}

void copy_heads(const View& heads, const View& rows, Copy direction, Run& run) {
  const View packed = make_view(rows.data, rows.dtype, heads.shape[0], heads.shape[1], heads.shape[2]);
  const bool out = direction == Copy::kOut;
  dispatch(CopyArgs{.x = out ? heads : packed, .y = out ? packed : heads}, run);
}

void copy_rows(const View& x, const View& y, Run& run) {
  dispatch(CopyArgs{.x = x.split_last(1), .y = y.split_last(1)}, run);
}

}  // namespace hf
