// AdamW over a model's trainable parameters: moments in the model's flat layout, the update one fused pass.
#pragma once

#include "model/model.h"

namespace hf {

struct OptimizerStep {
  double lr = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double max_grad_norm = 0;      // 0 = no clipping
  std::vector<double> lr_scale;  // per parameter; empty = 1
};

class Optimizer {
 public:
  explicit Optimizer(std::shared_ptr<Model> model);

  struct Result {
    double grad_norm;
    bool applied;  // false: a gradient was not finite, and nothing but the gradients (now zero) changed
  };
  // Clips, updates, zeroes the gradients. Not interruptible once it writes: weights and moments change
  // together or not at all.
  Result step(const OptimizerStep& options, Run& run);

  Model& model() { return *model_; }
  View exp_avg() const { return exp_avg_.view; }
  View exp_avg_sq() const { return exp_avg_sq_.view; }
  int64_t steps = 0;

 private:
  std::shared_ptr<Model> model_;
  Tensor exp_avg_, exp_avg_sq_;
};

}  // namespace hf
