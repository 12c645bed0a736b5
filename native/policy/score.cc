#include "policy/score.h"

#include <algorithm>

#include "ops/op_table.h"

namespace hf {
namespace {

// Sequences begin … end − 1 of the samples, at most max_tokens tokens unless one alone has more.
struct Block {
  int64_t begin, end;
  int64_t row_begin, rows;
};

template <class Body>
void for_each_block(const Samples& samples, int64_t max_tokens, Run& run, const Body& body) {
  for (int64_t begin = 0; begin < samples.sequences;) {
    int64_t end = begin + 1;
    while (end < samples.sequences && samples.offsets[end + 1] - samples.offsets[begin] <= max_tokens)
      ++end;
    checkpoint(run);
    {
      Scratch scratch(run);
      body(Block{begin, end, samples.row_offsets[begin],
                 samples.row_offsets[end] - samples.row_offsets[begin]});
    }
    report_progress(run, samples.offsets[end], samples.tokens());
    begin = end;
  }
}

View block_rows(const Samples& samples, const Block& block, Run& run) {
  const View rows = arena_tensor(run, DType::kI32, block.rows);
  for (int64_t i = 0; i < block.rows; ++i)
    rows.as<int32_t>()[i] = samples.rows[block.row_begin + i] - samples.offsets[block.begin];
  return rows;
}

// φ at the block's scored rows, without keeping activations.
View block_features(const Model& model, const Samples& samples, const Block& block, Run& run) {
  const Batch batch = make_batch(samples.ids, samples.offsets + block.begin, block.end - block.begin, run);
  return gather_rows(forward(model, batch, Keep::kFeatures, run).features(), block_rows(samples, block, run),
                     run);
}

// The loss's arguments for a block; gradients are the caller's to ask for.
LinearPolicyGradientArgs block_args(const Model& model, const Samples& samples, const PolicyBatch& batch,
                                    const Block& block, const View& hidden, Run& run) {
  const auto part = [&](const View& view) {
    return view ? view.slice(0, block.row_begin, block.rows) : view;
  };
  LinearPolicyGradientArgs args = batch.loss;
  args.hidden = hidden, args.weight = model.classifier_operand();
  args.targets = make_view(const_cast<int32_t*>(samples.targets) + block.row_begin, DType::kI32, block.rows);
  args.coefficients = part(batch.coefficients), args.entropy_coefficients = part(batch.entropy_coefficients);
  args.advantages = part(batch.advantages), args.old_logps = part(batch.old_logps),
  args.ref_logps = part(batch.ref_logps);
  args.weights = part(batch.weights);
  args.logps = part(batch.logps), args.entropy = part(batch.entropy), args.max_prob = part(batch.max_prob),
  args.argmax = part(batch.argmax);
  args.kl_out = part(batch.kl), args.ratio = part(batch.ratio), args.losses = part(batch.losses),
  args.clipped = part(batch.clipped);
  if (args.importance != ImportanceLevel::kToken) {
    args.offsets = arena_tensor(run, DType::kI32, block.end - block.begin + 1);
    for (int64_t s = block.begin; s <= block.end; ++s)
      args.offsets.as<int32_t>()[s - block.begin] = int32_t(samples.row_offsets[s] - block.row_begin);
  }
  return args;
}

bool body_trains(const Model& model) {
  for (size_t i = 0; i < model.parameters().size(); ++i)
    if (model.trainable(int(i)) && model.parameters()[i].spec.role != Role::kClassifier) return true;
  return false;
}

}  // namespace

void score(const Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
           Run& run) {
  for_each_block(samples, kDefaultMaxTokens, run, [&](const Block& block) {
    if (block.rows == 0) return;
    const View hidden = features ? features.slice(0, block.row_begin, block.rows)
                                 : block_features(model, samples, block, run);
    dispatch(block_args(model, samples, batch, block, hidden, run), run);
  });
}

void accumulate(Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
                const AccumulateOptions& options, Run& run) {
  const bool body = body_trains(model);
  HF_CHECK(
      !(features && body), ErrorCode::kInvalidArg,
      "accumulateGradients: features stand in for the body, so only the classifier may be trainable; call setTrainable('classifier')");
  SumSink sink(model, model.gradients(), model.trainable(), run);
  const int first_kept = std::max(lowest_wanted(model, sink), 0);
  for_each_block(samples, options.max_tokens, run, [&](const Block& block) {
    if (block.rows == 0) return;
    Activations activations;
    View hidden, rows;
    if (features) {
      hidden = features.slice(0, block.row_begin, block.rows);
    } else if (body) {
      activations =
          forward(model, make_batch(samples.ids, samples.offsets + block.begin, block.end - block.begin, run),
                  options.checkpointing ? Keep::kInputs : Keep::kAll, run, first_kept);
      rows = block_rows(samples, block, run);
      hidden = gather_rows(activations.features(), rows, run);
    } else {
      hidden = block_features(model, samples, block, run);
    }
    LinearPolicyGradientArgs args = block_args(model, samples, batch, block, hidden, run);
    if (const Model* reference = options.reference) {
      args.ref_hidden = block_features(*reference, samples, block, run);
      args.ref_weight = reference->classifier_operand();
    }
    if (body) args.d_hidden = arena_tensor(run, run.real(), block.rows, hidden.shape[1]);
    if (model.trainable(model.classifier())) args.d_weight = sink.gradient(model.classifier());
    dispatch(args, run);
    if (!body) return;
    if (batch.head_gradients) {
      HF_CHECK(batch.head_weight.size() == hidden.shape[1], ErrorCode::kShape,
               "accumulateGradients: headWeight must have %lld entries (the model's features), got %lld",
               static_cast<long long>(hidden.shape[1]), static_cast<long long>(batch.head_weight.size()));
      GemmArgs head;
      head.a = make_view(batch.head_gradients.slice(0, block.row_begin, block.rows).data, hidden.dtype,
                         block.rows, 1);
      head.b = make_view(batch.head_weight.data, hidden.dtype, 1, hidden.shape[1]);
      head.c = args.d_hidden, head.accumulate = true;
      dispatch(head, run);
    }
    // Rows that are not scored have no gradient of their own.
    const View& phi = activations.features();
    EmbeddingBackwardArgs scatter;
    scatter.ids = rows, scatter.d_y = args.d_hidden,
    scatter.d_table = arena_tensor(run, phi.dtype, phi.shape[0], phi.shape[1]);
    set_zero(run, scatter.d_table);
    dispatch(scatter, run);
    backward(model, activations, scatter.d_table, sink, run);
  });
}

void scored_features(const Model& model, const Samples& samples, const View& out, Run& run) {
  for_each_block(samples, kDefaultMaxTokens, run, [&](const Block& block) {
    if (block.rows == 0) return;
    const View hidden = block_features(model, samples, block, run);
    copy_numbers(run, out.slice(0, block.row_begin, block.rows), hidden);
  });
}

}  // namespace hf
