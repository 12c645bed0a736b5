// The per-row arrays of a policy-gradient loss (NativeLoss of src/core/addon/contract.ts) and its results
// (NativeScores).
#pragma once

#include <napi.h>

#include <memory>
#include <utility>
#include <vector>

#include "options.h"
#include "policy/score.h"

namespace hf::binding {

// Owns copies of the inputs and memory for the results, in the context's real type; `batch` holds views of
// both.
struct LossArrays {
  std::vector<std::vector<char>> inputs;
  std::vector<std::pair<const char*, std::vector<char>>> results;
  PolicyBatch batch;
  int64_t rows;
  DType real;

  // `count` < 0: as many as are given.
  void input(const Options& options, const char* name, View& view, int64_t count);
  void result(const char* name, View& view, DType dtype);
  Napi::Object to_js(Napi::Env env) const;
};

// Scalars and arrays from `options`. Without `gradients` only what the policy says: log-probs, entropy,
// maximum probability.
std::shared_ptr<LossArrays> loss_of(const Options& options, int64_t rows, DType real, bool gradients);

// The table of losses (ops/loss/losses.h): of each the name, and the parameters that it reads with their
// default, least and largest value.
Napi::Array losses_to_js(Napi::Env env);

}  // namespace hf::binding
