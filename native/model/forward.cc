#include "model/forward.h"

#include "ops/op_table.h"

namespace hf {

Batch make_batch(const int32_t* ids, const int32_t* offsets, int64_t sequences, Run& run) {
  const int32_t first = offsets[0];
  const int64_t N = offsets[sequences] - first;
  const Batch batch{
      .ids = arena_tensor(run, DType::kI32, N),
      .positions = arena_tensor(run, DType::kI32, N),
      .offsets = arena_tensor(run, DType::kI32, sequences + 1),
  };
  for (int64_t s = 0; s <= sequences; ++s)
    batch.offsets.as<int32_t>()[s] = offsets[s] - first;
  for (int64_t s = 0; s < sequences; ++s)
    for (int32_t row = offsets[s]; row < offsets[s + 1]; ++row) {
      batch.ids.as<int32_t>()[row - first] = ids[row];
      batch.positions.as<int32_t>()[row - first] = row - offsets[s];
    }
  return batch;
}

Activations forward(const Model& model, const Batch& batch, Keep keep, Run& run, int first_kept) {
  const int64_t N = batch.rows(), C = model.spec().hidden_size;
  PackedAttention attention(model.spec(), batch.offsets);
  Activations out;
  out.batch = batch;
  // A layer that is not kept writes its output over the input of the layer before it.
  const bool some_not_kept = keep == Keep::kFeatures || first_kept > 0;
  View x = arena_tensor(run, run.real(), N, C);
  View spare = some_not_kept ? arena_tensor(run, run.real(), N, C) : View{};
  embed(model, batch.ids, batch.positions, x, run);
  for (int l = 0; l < model.spec().layers; ++l) {
    checkpoint(run);
    const Keep here = l < first_kept ? Keep::kFeatures : keep;
    const View next = here == Keep::kFeatures ? spare : arena_tensor(run, run.real(), N, C);
    const ArenaMark mark = arena_mark(run);
    LayerActivations layer = forward_layer(model, model.layer(l), x, batch.positions, attention, here, run);
    layer_output(model, model.layer(l), layer, next, run);
    if (here == Keep::kInputs || here == Keep::kFeatures) {
      arena_release(run, mark);
      layer = LayerActivations{};
      if (here == Keep::kInputs)
        layer.x = x;
      else
        spare = x;
    }
    if (keep != Keep::kFeatures) out.layers.push_back(layer);
    x = next;
  }
  out.x = x;
  out.final_norm = norm_statistics(x, run);
  apply_norm(model, model.final_norm(), x, run.real(), out.final_norm, run);
  return out;
}

void embed(const Model& model, const View& ids, const View& positions, const View& y, Run& run) {
  const bool learned_positions = model.position() >= 0;
  dispatch(
      EmbeddingArgs{
          .table = model.weight(model.embedding()),
          .ids = ids,
          .table2 = model.weight_or_none(model.position()),
          .ids2 = learned_positions ? positions : View{},
          .y = y,
      },
      run);
}

void logits(const Model& model, const View& hidden, const View& z, Run& run) {
  dispatch(GemmArgs{.a = hidden, .b = model.classifier_operand().transposed(), .c = z}, run);
}

View gather_rows(const View& x, const View& rows, Run& run) {
  const View y = arena_tensor(run, x.dtype, rows.shape[0], x.shape[1]);
  dispatch(EmbeddingArgs{.table = x, .ids = rows, .y = y}, run);
  return y;
}

void scatter_rows(const View& d_y, const View& rows, const View& d_x, Run& run) {
  dispatch(EmbeddingBackwardArgs{.ids = rows, .d_y = d_y, .d_table = d_x}, run);
}

void merged_weight(const Model& model, int parameter, const View& out, Run& run) {
  copy_numbers(run, out, model.weight(parameter));
  const int layer = model.parameters()[parameter].spec.layer;
  if (layer < 0) return;
  for_each_linear(model.layer(layer), [&](const Linear& linear) {
    for (const Adapter& adapter : linear.adapters) {
      const int target = model.parameters()[adapter.up.parts.front().weight].spec.target;
      if (target != parameter) continue;
      const View &A = adapter.down.weight, &B = adapter.up.weight;
      dispatch(
          GemmArgs{
              .a = linear.transposed ? A.transposed() : B,
              .b = linear.transposed ? B.transposed() : A,
              .c = out,
              .alpha = model.spec().lora_scale,
              .accumulate = true,
          },
          run);
    }
  });
}

}  // namespace hf
