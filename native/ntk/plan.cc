#include <algorithm>

#include "model/footprint.h"
#include "ntk/gram.h"
#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {

int64_t stored_numbers(const ModelSpec& s) {
  const int64_t C = s.hidden_size, qkv = (s.heads + 2 * s.kv_heads) * s.head_dim,
                mlp_in = s.mlp_size * int64_t(s.activation == ActivationKind::kSiluGate ? 2 : 1);
  int64_t adapters = 0;  // d of the first matrix, a of the second
  for (const ParameterSpec& p : s.parameters)
    adapters += p.role == Role::kLoraA ? 2 * p.shape[0] : 0;
  return s.layers * (qkv + 2 * C + mlp_in) + C + adapters;
}

std::vector<FunctionRange> plan_blocks(const Model& model, const Functions& functions, int64_t max_bytes,
                                       int64_t kept_per_row, int64_t kept_per_function, int64_t* bytes,
                                       Keep keep) {
  const int64_t real = dtype_bytes(model.context()->real()), C = model.spec().hidden_size;
  const bool device(model.context()->device());
  const int64_t slices = slice_bytes(device) * 3 / 2;  // vocabulary slices and the arena's rounding
  const int64_t gradient_block = device ? gradient_block_bytes(device, max_bytes) : 0;
  const auto cost_of = [&](FunctionRange range) {
    const int64_t activations = activation_rows(functions, range),
                  gradients = gradient_rows(functions, range);
    const int64_t terms = functions.term_offsets[range.end] - functions.term_offsets[range.begin];
    return real *
               (activations * activation_numbers(model.spec(), keep) +
                gradients * (gradient_numbers(model.spec(), gradients != activations) + kept_per_row) +
                terms * (2 * C + (device ? C / 2 : 0) + 4) + (range.end - range.begin) * kept_per_function) +
           std::min<int64_t>(slices, real * 3 * terms * model.spec().vocab_size) + gradient_block;
  };
  std::vector<FunctionRange> blocks;
  *bytes = 0;
  for (int64_t begin = 0; begin < functions.count();) {
    // The largest end that fits, by bisection: cost grows with the range.
    int64_t low = begin + 1, high = functions.count();
    const int64_t one = cost_of({begin, low});
    HF_CHECK(
        one <= max_bytes, ErrorCode::kOutOfMemory,
        "ntk: function %lld alone needs %lld bytes of working memory, but maxBytes is %lld; shorten the sample, raise maxBytes, or use a smaller parameter filter",
        static_cast<long long>(begin), static_cast<long long>(one), static_cast<long long>(max_bytes));
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      cost_of({begin, middle}) <= max_bytes ? low = middle : high = middle - 1;
    }
    *bytes = std::max(*bytes, cost_of({begin, low}));
    blocks.push_back({begin, low});
    begin = low;
  }
  return blocks;
}

}  // namespace hf
