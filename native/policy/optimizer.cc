#include "policy/optimizer.h"

#include <cmath>

#include "ops/op_table.h"

namespace hf {

Optimizer::Optimizer(std::shared_ptr<Model> model) : model_(std::move(model)) {
  exp_avg_ = Tensor::create(model_->context()->counter(), model_->context()->real(), model_->size());
  exp_avg_sq_ = Tensor::create(model_->context()->counter(), model_->context()->real(), model_->size());
}

Optimizer::Result Optimizer::step(const OptimizerStep& options, Run& run) {
  const View gradients = model_->gradients(), weights = model_->weights();
  // Runs of neighbouring trainable parameters with one learning rate go through the ops together.
  struct Span {
    int64_t begin, count;
    double lr;
  };
  std::vector<Span> spans;
  for (size_t i = 0; i < model_->parameters().size(); ++i) {
    if (!model_->trainable(int(i))) continue;
    const Parameter& p = model_->parameters()[i];
    const double lr = options.lr * (options.lr_scale.empty() ? 1 : options.lr_scale[i]);
    if (!spans.empty() && spans.back().begin + spans.back().count == p.offset && spans.back().lr == lr)
      spans.back().count += p.size;
    else
      spans.push_back({p.offset, p.size, lr});
  }
  Scratch scratch(run);
  double* sum = scratch.allocate<double>(1);
  *sum = 0;
  for (const Span& span : spans) {
    SumOfSquaresArgs args;
    args.x = gradients.slice(0, span.begin, span.count), args.y = make_view(sum, DType::kF64, 1),
    args.accumulate = true;
    dispatch(args, run);
  }
  const double norm = std::sqrt(*sum);
  const bool finite = std::isfinite(norm);
  if (finite) {
    checkpoint(run);
    ++steps;
    for (const Span& span : spans) {
      AdamwArgs args;
      args.param = weights.slice(0, span.begin, span.count),
      args.grad = gradients.slice(0, span.begin, span.count);
      args.exp_avg = exp_avg_.view.slice(0, span.begin, span.count),
      args.exp_avg_sq = exp_avg_sq_.view.slice(0, span.begin, span.count);
      args.lr = span.lr, args.beta1 = options.beta1, args.beta2 = options.beta2, args.eps = options.eps;
      args.weight_decay = options.weight_decay, args.step = steps;
      // As torch.nn.utils.clip_grad_norm_: the small constant keeps the quotient finite.
      args.grad_scale = options.max_grad_norm > 0 && norm > options.max_grad_norm
                            ? options.max_grad_norm / (norm + 1e-6)
                            : 1;
      dispatch(args, run);
    }
  }
  if (finite)
    for (size_t i = 0; i < model_->parameters().size(); ++i)
      if (model_->trainable(int(i))) model_->refresh(int(i), run);
  model_->zero_gradients();
  return {norm, finite};
}

}  // namespace hf
