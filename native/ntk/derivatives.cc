#include "ntk/derivatives.h"

#include "model/forward.h"
#include "ntk/gram.h"
#include "ntk/per_sample.h"
#include "ops/op_table.h"

namespace hf {
namespace {

Batch batch_of(const Sequences& sequences, int64_t s, Run& run) {
  return make_batch(sequences.ids, sequences.offsets + s, 1, run);
}

Tensor result(const Model& model, int64_t rows, int64_t columns) {
  const Context& context = *model.context();
  return Tensor::create(context.counter(), context.real(), rows, columns);
}

// t_z += φ ΔWᵀ
void add_classifier_move(const View& features, const View& t_weight, const View& t_z, Run& run) {
  const GemmArgs args{
      .a = features,
      .b = t_weight.transposed(),
      .c = t_z,
      .accumulate = true,
  };
  dispatch(args, run);
}

// Matrix i of a contiguous (k, rows, columns).
View matrix_at(const View& matrices, int64_t i) {
  const View one = matrices.slice(0, i, 1);
  return make_view(one.data, one.dtype, one.shape[1], one.shape[2]);
}

// Adds gᵀ ∂z/∂θ to the sink's gradients, for g (T, V) at the positions of one sequence.
void add_vjp(const Model& model, const Activations& activations, const View& g, SumSink& sink, Run& run) {
  const View d_features = arena_tensor(run, run.real(), g.shape[0], model.spec().hidden_size);
  dispatch(GemmArgs{.a = g, .b = model.classifier_operand(), .c = d_features}, run);
  if (sink.wants(model.classifier())) {
    const GemmArgs head{
        .a = g.transposed(),
        .b = activations.features(),
        .c = sink.gradient(model.classifier()),
        .accumulate = true,
    };
    dispatch(head, run);
  }
  backward(model, activations, d_features, sink, run);
}

// A tensor (k, …shape) of one parameter's rows of flat gradients (k, P).
Tensor parameter_rows(const Model& model, int parameter, const View& flat, Run& run) {
  const std::vector<int64_t>& shape = model.parameters()[parameter].spec.shape;
  const std::shared_ptr<MemoryCounter>& counter = model.context()->counter();
  const int64_t k = flat.shape[0];
  const Tensor rows = shape.size() == 2 ? Tensor::create(counter, run.real(), k, shape[0], shape[1])
                                        : Tensor::create(counter, run.real(), k, shape[0]);
  for (int64_t i = 0; i < k; ++i)
    copy_numbers(run, rows.view.slice(0, i, 1), model.view_in(flat.slice(0, i, 1), parameter));
  return rows;
}

}  // namespace

Outputs outputs(const Model& model, const Sequences& sequences, Want want, Run& run) {
  Outputs out;
  for (int64_t s = 0; s < sequences.count; ++s) {
    checkpoint(run);
    Scratch scratch(run);
    const View features = forward(model, batch_of(sequences, s, run), Keep::kFeatures, run).features();
    if (want != Want::kLogits) {
      out.features.push_back(result(model, features.shape[0], features.shape[1]));
      copy_numbers(run, out.features.back().view, features);
    }
    if (want != Want::kFeatures) {
      out.logits.push_back(result(model, features.shape[0], model.spec().vocab_size));
      logits(model, features, out.logits.back().view, run);
    }
    report_progress(run, sequences.offsets[s + 1], sequences.tokens());
  }
  return out;
}

Outputs jvp(const Model& model, const Sequences& sequences, const View& tangent, Run& run) {
  const View t_weight = model.view_in(tangent, model.classifier());
  Outputs moved;
  for (int64_t s = 0; s < sequences.count; ++s) {
    checkpoint(run);
    Scratch scratch(run);
    const Activations activations = forward(model, batch_of(sequences, s, run), Keep::kAll, run);
    const View t_features = jvp(model, activations, tangent, run);
    moved.features.push_back(result(model, t_features.shape[0], t_features.shape[1]));
    copy_numbers(run, moved.features.back().view, t_features);
    moved.logits.push_back(result(model, t_features.shape[0], model.spec().vocab_size));
    logits(model, t_features, moved.logits.back().view, run);
    add_classifier_move(activations.features(), t_weight, moved.logits.back().view, run);
    report_progress(run, sequences.offsets[s + 1], sequences.tokens());
  }
  return moved;
}

std::vector<Tensor> vjp(const Model& model, const Sequences& sequences, const std::vector<View>& cotangents,
                        const std::vector<bool>& wanted, Run& run) {
  const int64_t k = cotangents.empty() ? 0 : cotangents.front().shape[0];
  const View flat = arena_tensor(run, run.real(), k, model.size());
  set_zero(run, flat);
  for (int64_t s = 0; s < sequences.count; ++s) {
    Scratch scratch(run);
    const Activations activations = forward(model, batch_of(sequences, s, run), Keep::kAll, run);
    for (int64_t i = 0; i < k; ++i) {
      checkpoint(run);
      Scratch inner(run);
      const View gradients = flat.slice(0, i, 1);
      SumSink sink(model, make_view(gradients.data, gradients.dtype, model.size()), wanted, run);
      add_vjp(model, activations, matrix_at(cotangents[s], i), sink, run);
    }
    report_progress(run, sequences.offsets[s + 1], sequences.tokens());
  }
  std::vector<Tensor> gradients;
  for (size_t p = 0; p < wanted.size(); ++p)
    if (wanted[p]) gradients.push_back(parameter_rows(model, int(p), flat, run));
  return gradients;
}

void check_cotangents(const char* caller, const Model& model, const Sequences& sequences,
                      const std::vector<View>& cotangents) {
  HF_CHECK(int64_t(cotangents.size()) == sequences.count, ErrorCode::kShape,
           "%s: %lld cotangents expected, one per sequence, got %zu", caller,
           static_cast<long long>(sequences.count), cotangents.size());
  if (cotangents.empty()) return;
  const View& first = cotangents.front();
  const int64_t k = first.rank == 3 ? first.shape[0] : 0;
  const int64_t V = model.spec().vocab_size;
  for (int64_t s = 0; s < sequences.count; ++s) {
    const View& g = cotangents[s];
    const int64_t T = sequences.length(s);
    HF_CHECK(g.rank == 3 && g.shape[0] == k && g.shape[1] == T && g.shape[2] == V, ErrorCode::kShape,
             "%s: cotangents[%lld] must have shape (k, T, V) = (%lld, %lld, %lld)", caller,
             static_cast<long long>(s), static_cast<long long>(k), static_cast<long long>(T),
             static_cast<long long>(V));
  }
}

Tensor per_sample_gradients(const Model& model, const Functions& functions, const std::vector<bool>& wanted,
                            int64_t max_bytes, Run& run) {
  const Tensor gradients = result(model, functions.count(), GradientLayout(model, wanted).width);
  int64_t bytes;
  for (const FunctionRange range : plan_blocks(model, functions, max_bytes, 0, 0, &bytes)) {
    checkpoint(run);
    Scratch scratch(run);
    const FunctionBlock block(model, functions, range, run);
    per_sample_gradients(block, wanted, gradients.view.slice(0, range.begin, range.end - range.begin));
    report_progress(run, range.end, functions.count());
  }
  return gradients;
}

}  // namespace hf
