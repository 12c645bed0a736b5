#include "model/forward.h"

#include "ops/op_table.h"

namespace hf {
namespace {

View same(const View& like, Run& run) {
  return arena_tensor(run, like.dtype, like.shape[0], like.shape[1]);
}

// Where statistics of x's rows go.
NormActivations statistics(const View& x, Run& run) {
  NormActivations out;
  out.mean = arena_tensor(run, x.dtype, x.shape[0]);
  out.rstd = arena_tensor(run, x.dtype, x.shape[0]);
  return out;
}

// Copies heads out, normalises every head over D, writes them back.
HeadNormActivations apply_head_norm(const Model& model, int gain, const View& heads, Run& run) {
  const int64_t N = heads.shape[0], H = heads.shape[1], D = heads.shape[2];
  HeadNormActivations out;
  out.x = arena_tensor(run, run.real(), N * H, D);
  out.mean = arena_tensor(run, run.real(), N * H);
  out.rstd = arena_tensor(run, run.real(), N * H);
  const View y = arena_tensor(run, run.real(), N * H, D);
  copy_heads(heads, out.x, Copy::kOut, run);
  NormArgs args;
  args.x = out.x, args.gain = model.weight(gain), args.y = y, args.mean = out.mean, args.rstd = out.rstd;
  args.kind = NormKind::kRms, args.eps = model.spec().norm_eps;
  dispatch(args, run);
  copy_heads(heads, y, Copy::kIn, run);
  return out;
}

}  // namespace

void apply_norm(const Model& model, const NormWeights& weights, const View& x, DType dtype,
                NormActivations& out, Run& run) {
  out.y = arena_tensor(run, dtype, x.shape[0], x.shape[1]);
  NormArgs args;
  args.x = x, args.gain = model.weight(weights.gain), args.y = out.y, args.mean = out.mean,
  args.rstd = out.rstd;
  if (weights.bias >= 0) args.bias = model.weight(weights.bias);
  args.kind = model.spec().norm, args.eps = model.spec().norm_eps;
  dispatch(args, run);
}

void copy_heads(const View& heads, const View& rows, Copy direction, Run& run) {
  const View packed = make_view(rows.data, rows.dtype, heads.shape[0], heads.shape[1], heads.shape[2]);
  CopyArgs args;
  args.x = direction == Copy::kOut ? heads : packed, args.y = direction == Copy::kOut ? packed : heads;
  dispatch(args, run);
}

void copy_rows(const View& x, const View& y, Run& run) {
  CopyArgs args;
  args.x = x.split_last(1), args.y = y.split_last(1);
  dispatch(args, run);
}

void rotate(const Model& model, const View& positions, const View& heads, bool inverse, Run& run) {
  const ModelSpec& s = model.spec();
  if (s.inv_freq.empty()) return;
  RopeArgs args;
  args.x = heads, args.positions = positions;
  args.inv_freq = make_view(const_cast<double*>(s.inv_freq.data()), DType::kF64, int64_t(s.inv_freq.size()));
  args.scale = s.rotary_scale, args.inverse = inverse;
  dispatch(args, run);
}

Batch make_batch(const int32_t* ids, const int32_t* offsets, int64_t sequences, Run& run) {
  const int64_t N = offsets[sequences] - offsets[0];
  Batch batch{arena_tensor(run, DType::kI32, N), arena_tensor(run, DType::kI32, N),
              arena_tensor(run, DType::kI32, sequences + 1)};
  for (int64_t s = 0; s <= sequences; ++s)
    batch.offsets.as<int32_t>()[s] = offsets[s] - offsets[0];
  for (int64_t s = 0; s < sequences; ++s)
    for (int32_t row = offsets[s]; row < offsets[s + 1]; ++row) {
      batch.ids.as<int32_t>()[row - offsets[0]] = ids[row];
      batch.positions.as<int32_t>()[row - offsets[0]] = row - offsets[s];
    }
  return batch;
}

HeadViews head_views(const ModelSpec& s, const View& qkv) {
  const int64_t H = s.heads, G = s.kv_heads, D = s.head_dim;
  if (s.qkv_layout == QkvLayout::kBlocks)
    return {qkv.slice(1, 0, H * D).split_last(H), qkv.slice(1, H * D, G * D).split_last(G),
            qkv.slice(1, (H + G) * D, G * D).split_last(G)};
  const View heads = qkv.split_last(H);  // (N, H, 3D)
  return {heads.slice(2, 0, D), heads.slice(2, D, D), heads.slice(2, 2 * D, D)};
}

View adapter_input(const ModelSpec& s, const Adapter& adapter, const View& a, Run& run) {
  GemmArgs args;
  args.a = a, args.b = adapter.down.weight.transposed(),
  args.c = arena_tensor(run, a.dtype, a.shape[0], adapter.down.out()), args.alpha = s.lora_scale;
  dispatch(args, run);
  return args.c;
}

void apply_linears(const ModelSpec& s, const Linear* linears, size_t count, const View& a, const View& y,
                   const View& residual, Run& run) {
  int64_t column = 0;
  for (size_t i = 0; i < count; ++i) {
    GemmArgs args;
    args.a = a, args.b = linears[i].weight.transposed(), args.c = y.slice(1, column, linears[i].out());
    args.bias = linears[i].bias, args.packed_b = linears[i].packed, args.residual = residual;
    dispatch(args, run);
    for (const Adapter& adapter : linears[i].adapters) {
      Scratch scratch(run);
      GemmArgs up;
      up.a = adapter_input(s, adapter, a, run), up.b = adapter.up.weight.transposed(),
      up.c = y.slice(1, column + adapter.begin, adapter.up.out()), up.accumulate = true;
      dispatch(up, run);
    }
    column += linears[i].out();
  }
}

void merged_weight(const Model& model, int parameter, const View& out, Run& run) {
  const View weight = model.weight(parameter);
  copy_numbers(run, out, weight);
  const int layer = model.parameters()[parameter].spec.layer;
  if (layer < 0) return;
  const LayerWeights& w = model.layer(layer);
  const auto add = [&](const Linear& linear) {
    for (const Adapter& adapter : linear.adapters) {
      const int target = model.parameters()[adapter.up.parts.front().weight].spec.target;
      if (target != parameter) continue;
      GemmArgs args;
      args.c = out, args.alpha = model.spec().lora_scale, args.accumulate = true;
      if (linear.transposed)
        args.a = adapter.down.weight.transposed(), args.b = adapter.up.weight.transposed();
      else
        args.a = adapter.up.weight, args.b = adapter.down.weight;
      dispatch(args, run);
    }
  };
  for (const Linear& linear : w.qkv)
    add(linear);
  for (const Linear& linear : w.mlp_in)
    add(linear);
  add(w.attention_out), add(w.mlp_down);
}

void embed(const Model& model, const View& ids, const View& positions, const View& y, Run& run) {
  EmbeddingArgs args;
  args.table = model.weight(model.embedding()), args.ids = ids, args.y = y;
  if (model.position() >= 0) args.table2 = model.weight(model.position()), args.ids2 = positions;
  dispatch(args, run);
}

void activate(const ModelSpec& s, const View& in, const View& y, Run& run) {
  ActivationArgs args;
  args.kind = s.activation, args.y = y;
  args.x = in.slice(1, 0, s.mlp_size);
  if (s.activation == ActivationKind::kSiluGate) args.up = in.slice(1, s.mlp_size, s.mlp_size);
  dispatch(args, run);
}

View activated(const ModelSpec& s, const View& in, Run& run) {
  const View y = arena_tensor(run, run.stored(), in.shape[0], s.mlp_size);
  activate(s, in, y, run);
  return y;
}

LayerActivations forward_layer(const Model& model, int l, const View& x, const Batch& batch, Keep keep,
                               Run& run) {
  const ModelSpec& s = model.spec();
  const LayerWeights& w = model.layer(l);
  const int64_t N = batch.rows();
  const DType stored = run.stored();
  // y = norm(x) Wᵀ + b
  const auto normed_linears = [&](const NormWeights& norm, const View& in, NormActivations& out,
                                  const std::vector<Linear>& linears, const View& y) {
    const ArenaMark mark = arena_mark(run);
    apply_norm(model, norm, in, stored, out, run);
    apply_linears(s, linears.data(), linears.size(), out.y, y, View{}, run);
    if (keep == Keep::kLess) arena_release(run, mark), out.y = View{};
  };
  LayerActivations a;
  a.x = x;
  a.attention_norm = statistics(x, run);
  a.qkv = arena_tensor(run, stored, N, (s.heads + 2 * s.kv_heads) * s.head_dim);
  normed_linears(w.attention_norm, x, a.attention_norm, w.qkv, a.qkv);
  const HeadViews heads = head_views(s, a.qkv);
  if (w.q_norm >= 0) a.q_norm = apply_head_norm(model, w.q_norm, heads.q, run);
  if (w.k_norm >= 0) a.k_norm = apply_head_norm(model, w.k_norm, heads.k, run);
  rotate(model, batch.positions, heads.q, false, run);
  rotate(model, batch.positions, heads.k, false, run);

  a.attention = arena_tensor(run, stored, N, s.heads * s.head_dim);
  a.lse = arena_tensor(run, run.real(), N, s.heads);
  AttentionArgs attention;
  attention.q = heads.q, attention.k = heads.k, attention.v = heads.v, attention.offsets = batch.offsets;
  attention.y = a.attention.split_last(s.heads), attention.lse = a.lse, attention.scale = s.attention_scale;
  dispatch(attention, run);
  a.middle = same(x, run);
  apply_linears(s, &w.attention_out, 1, a.attention, a.middle, x, run);

  const View& mlp_x = s.parallel_residual ? x : a.middle;
  a.mlp_norm = statistics(mlp_x, run);
  a.mlp_in =
      arena_tensor(run, stored, N, s.mlp_size * int64_t(s.activation == ActivationKind::kSiluGate ? 2 : 1));
  normed_linears(w.mlp_norm, mlp_x, a.mlp_norm, w.mlp_in, a.mlp_in);
  if (keep != Keep::kLess) a.mlp_act = activated(s, a.mlp_in, run);
  return a;
}

Activations forward(const Model& model, const Batch& batch, Keep keep, Run& run, int first_kept) {
  const int64_t N = batch.rows(), C = model.spec().hidden_size;
  Activations out;
  out.batch = batch;
  View x = arena_tensor(run, run.real(), N, C);
  View spare = keep == Keep::kFeatures || first_kept > 0 ? arena_tensor(run, run.real(), N, C) : View{};
  embed(model, batch.ids, batch.positions, x, run);
  for (int l = 0; l < model.spec().layers; ++l) {
    checkpoint(run);
    const Keep here = l < first_kept ? Keep::kFeatures : keep;
    const View next = here == Keep::kFeatures ? spare : same(x, run);
    const ArenaMark mark = arena_mark(run);
    LayerActivations a = forward_layer(model, l, x, batch, here, run);
    {
      Scratch scratch(run);
      apply_linears(model.spec(), &model.layer(l).mlp_down, 1,
                    a.mlp_act ? a.mlp_act : activated(model.spec(), a.mlp_in, run), next, a.middle, run);
    }
    if (here == Keep::kInputs || here == Keep::kFeatures) {
      arena_release(run, mark);
      a = LayerActivations{};
      if (here == Keep::kInputs)
        a.x = x;
      else
        spare = x;
    }
    if (keep != Keep::kFeatures) out.layers.push_back(a);
    x = next;
  }
  out.x = x;
  out.final_norm = statistics(x, run);
  apply_norm(model, model.final_norm(), x, run.real(), out.final_norm, run);
  return out;
}

View gather_rows(const View& x, const View& rows, Run& run) {
  EmbeddingArgs args;
  args.table = x, args.ids = rows, args.y = arena_tensor(run, x.dtype, rows.shape[0], x.shape[1]);
  dispatch(args, run);
  return args.y;
}

void logits(const Model& model, const View& hidden, const View& z, Run& run) {
  GemmArgs args;
  args.a = hidden, args.b = model.classifier_operand().transposed(), args.c = z;
  dispatch(args, run);
}

}  // namespace hf
