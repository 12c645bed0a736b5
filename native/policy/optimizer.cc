#include "policy/optimizer.h"

#include <cmath>

#include "ops/op_table.h"

namespace hf {
namespace {

// Neighbouring trainable parameters with one learning rate go through the ops together.
struct Span {
  int64_t begin, count;
  double lr;

  bool continues_at(const Parameter& p, double its_lr) const {
    return begin + count == p.offset && lr == its_lr;
  }
  View of(const View& flat) const { return flat.slice(0, begin, count); }
};

std::vector<Span> trainable_spans(const Model& model, const OptimizerStep& options) {
  std::vector<Span> spans;
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    if (!model.trainable(int(i))) continue;
    const Parameter& p = model.parameters()[i];
    const double lr = options.lr * (options.lr_scale.empty() ? 1 : options.lr_scale[i]);
    if (!spans.empty() && spans.back().continues_at(p, lr))
      spans.back().count += p.size;
    else
      spans.push_back({.begin = p.offset, .count = p.size, .lr = lr});
  }
  return spans;
}

// The L2 norm over all of the spans.
double norm_of(const View& gradients, const std::vector<Span>& spans, Run& run) {
  Scratch scratch(run);
  double* sum = scratch.allocate<double>(1);
  *sum = 0;
  for (const Span& span : spans)
    dispatch(
        SumOfSquaresArgs{
            .x = span.of(gradients),
            .y = make_view(sum, DType::kF64, 1),
            .accumulate = true,
        },
        run);
  return std::sqrt(*sum);
}

// As torch.nn.utils.clip_grad_norm_: the small constant keeps the quotient finite.
double clip_factor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1;
}

}  // namespace

Optimizer::Optimizer(std::shared_ptr<Model> model) : model_(std::move(model)) {
  const Context& context = *model_->context();
  exp_avg_ = Tensor::create(context.counter(), context.real(), model_->size());
  exp_avg_sq_ = Tensor::create(context.counter(), context.real(), model_->size());
}

Optimizer::Result Optimizer::step(const OptimizerStep& options, Run& run) {
  const View gradients = model_->gradients();
  const std::vector<Span> spans = trainable_spans(*model_, options);
  const double norm = norm_of(gradients, spans, run);
  const bool finite = std::isfinite(norm);
  if (finite) {
    checkpoint(run);
    ++steps;
    const double grad_scale = clip_factor(norm, options.max_grad_norm);
    for (const Span& span : spans)
      dispatch(
          AdamwArgs{
              .param = span.of(model_->weights()),
              .grad = span.of(gradients),
              .exp_avg = span.of(exp_avg_.view),
              .exp_avg_sq = span.of(exp_avg_sq_.view),
              .lr = span.lr,
              .beta1 = options.beta1,
              .beta2 = options.beta2,
              .eps = options.eps,
              .weight_decay = options.weight_decay,
              .grad_scale = grad_scale,
              .step = steps,
          },
          run);
    for (size_t i = 0; i < model_->parameters().size(); ++i)
      if (model_->trainable(int(i))) model_->refresh(int(i), run);
  }
  model_->zero_gradients();
  return {.grad_norm = norm, .applied = finite};
}

}  // namespace hf
