#include "policy/score.h"

#include <algorithm>

#include "ops/op_table.h"

namespace hf {
namespace {

// Sequences begin … end − 1 of the samples, and their scored rows.
struct Block {
  int64_t begin, end;
  int64_t row_begin, rows;
};

// Cuts the samples into blocks of at most max_tokens tokens, or of one sequence that has more.
template <class Body>
void for_each_block(const Samples& samples, int64_t max_tokens, Run& run, const Body& body) {
  for (int64_t begin = 0, end; begin < samples.sequences; begin = end) {
    end = begin + 1;
    while (end < samples.sequences && samples.offsets[end + 1] - samples.offsets[begin] <= max_tokens)
      ++end;
    const Block block{
        .begin = begin,
        .end = end,
        .row_begin = samples.row_offsets[begin],
        .rows = samples.row_offsets[end] - samples.row_offsets[begin],
    };
    checkpoint(run);
    if (block.rows > 0) {
      Scratch scratch(run);
      body(block);
    }
    report_progress(run, samples.offsets[end], samples.tokens());
  }
}

// The scored rows as rows of the block.
View scored_rows(const Samples& samples, const Block& block, Run& run) {
  const View rows = arena_tensor(run, DType::kI32, block.rows);
  for (int64_t i = 0; i < block.rows; ++i)
    rows.as<int32_t>()[i] = samples.rows[block.row_begin + i] - samples.offsets[block.begin];
  return rows;
}

Batch batch_of(const Samples& samples, const Block& block, Run& run) {
  return make_batch(samples.ids, samples.offsets + block.begin, block.end - block.begin, run);
}

// φ at the block's scored rows, without keeping activations.
View block_features(const Model& model, const Samples& samples, const Block& block, Run& run) {
  const Activations activations = forward(model, batch_of(samples, block, run), Keep::kFeatures, run);
  return gather_rows(activations.features(), scored_rows(samples, block, run), run);
}

// The loss's arguments for a block; gradients are the caller's to ask for.
LinearPolicyGradientArgs loss_args(const Model& model, const Samples& samples, const PolicyBatch& batch,
                                   const Block& block, const View& hidden, Run& run) {
  const auto part = [&](const View& view) {
    return view ? view.slice(0, block.row_begin, block.rows) : view;
  };
  int32_t* targets = const_cast<int32_t*>(samples.targets) + block.row_begin;
  LinearPolicyGradientArgs args = batch.loss;
  args.hidden = hidden;
  args.weight = model.classifier_operand();
  args.targets = make_view(targets, DType::kI32, block.rows);
  args.coefficients = part(batch.coefficients);
  args.entropy_coefficients = part(batch.entropy_coefficients);
  args.advantages = part(batch.advantages);
  args.old_logps = part(batch.old_logps);
  args.ref_logps = part(batch.ref_logps);
  args.weights = part(batch.weights);
  args.logps = part(batch.logps);
  args.entropy = part(batch.entropy);
  args.max_prob = part(batch.max_prob);
  args.argmax = part(batch.argmax);
  args.kl_out = part(batch.kl);
  args.ratio = part(batch.ratio);
  args.losses = part(batch.losses);
  args.clipped = part(batch.clipped);
  if (args.importance == ImportanceLevel::kToken) return args;
  args.offsets = arena_tensor(run, DType::kI32, block.end - block.begin + 1);
  for (int64_t s = block.begin; s <= block.end; ++s)
    args.offsets.as<int32_t>()[s - block.begin] = int32_t(samples.row_offsets[s] - block.row_begin);
  return args;
}

// Whether anything but the classifier trains.
bool body_trains(const Model& model, const GradientSink& sink) {
  for (size_t i = 0; i < model.parameters().size(); ++i)
    if (sink.wants(int(i)) && model.parameters()[i].spec.role != Role::kClassifier) return true;
  return false;
}

// d_hidden (rows, C) += what the head beside the classifier adds.
void add_head_gradient(const PolicyBatch& batch, const Block& block, const View& d_hidden, Run& run) {
  const int64_t C = d_hidden.shape[1];
  HF_CHECK(batch.head_weight.size() == C, ErrorCode::kShape,
           "accumulateGradients: headWeight must have %lld entries (the model's features), got %lld",
           static_cast<long long>(C), static_cast<long long>(batch.head_weight.size()));
  const View gradients = batch.head_gradients.slice(0, block.row_begin, block.rows);
  dispatch(
      GemmArgs{
          .a = make_view(gradients.data, d_hidden.dtype, block.rows, 1),
          .b = make_view(batch.head_weight.data, d_hidden.dtype, 1, C),
          .c = d_hidden,
          .accumulate = true,
      },
      run);
}

}  // namespace

void score(const Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
           Run& run) {
  for_each_block(samples, kDefaultMaxTokens, run, [&](const Block& block) {
    const View hidden = features ? features.slice(0, block.row_begin, block.rows)
                                 : block_features(model, samples, block, run);
    dispatch(loss_args(model, samples, batch, block, hidden, run), run);
  });
}

void accumulate(Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
                const AccumulateOptions& options, Run& run) {
  SumSink sink(model, model.gradients(), model.trainable(), run);
  accumulate(model, samples, batch, features, options, sink, run);
}

void accumulate(const Model& model, const Samples& samples, const PolicyBatch& batch, const View& features,
                const AccumulateOptions& options, SumSink& sink, Run& run) {
  const bool body = body_trains(model, sink);
  HF_CHECK(
      !(features && body), ErrorCode::kInvalidArg,
      "accumulateGradients: features stand in for the body, so only the classifier may be trainable; call "
      "setTrainable('classifier')");
  const int first_kept = std::max(lowest_wanted(model, sink), 0);
  const Keep keep = options.checkpointing ? Keep::kInputs : Keep::kAll;
  for_each_block(samples, options.max_tokens, run, [&](const Block& block) {
    Activations activations;
    View hidden, rows;
    if (features) {
      hidden = features.slice(0, block.row_begin, block.rows);
    } else if (body) {
      activations = forward(model, batch_of(samples, block, run), keep, run, first_kept);
      rows = scored_rows(samples, block, run);
      hidden = gather_rows(activations.features(), rows, run);
    } else {
      hidden = block_features(model, samples, block, run);
    }

    LinearPolicyGradientArgs args = loss_args(model, samples, batch, block, hidden, run);
    if (const Model* reference = options.reference) {
      args.ref_hidden = block_features(*reference, samples, block, run);
      args.ref_weight = reference->classifier_operand();
    }
    if (body) args.d_hidden = arena_tensor(run, run.real(), block.rows, hidden.shape[1]);
    if (sink.wants(model.classifier())) args.d_weight = sink.gradient(model.classifier());
    dispatch(args, run);
    if (!body) return;

    if (batch.head_gradients) add_head_gradient(batch, block, args.d_hidden, run);
    // Rows that are not scored have no gradient of their own.
    const View& phi = activations.features();
    const View d_features = arena_tensor(run, phi.dtype, phi.shape[0], phi.shape[1]);
    set_zero(run, d_features);
    scatter_rows(args.d_hidden, rows, d_features, run);
    backward(model, activations, d_features, sink, run);
  });
}

void scored_features(const Model& model, const Samples& samples, const View& out, Run& run) {
  for_each_block(samples, kDefaultMaxTokens, run, [&](const Block& block) {
    const View hidden = block_features(model, samples, block, run);
    copy_numbers(run, out.slice(0, block.row_begin, block.rows), hidden);
  });
}

}  // namespace hf
