// Per-sample gradients of one linear layer, and their norms.
//   gradients[s]      (+)= Σ_{n ∈ s} d_n ⊗ a_n
//   bias_gradients[s] (+)= Σ_{n ∈ s} d_n
//   squared_norms[s]  (+)= ‖Σ_{n ∈ s} d_n ⊗ a_n‖² (+ ‖Σ_{n ∈ s} d_n‖² with `bias`)
//
// Fields:
//   a (M,I), d (N,O)              rows of inputs and of output gradients
//   offsets (S+1), a_rows (N)     who owns which rows (ops/gram/gradient_pairs.h)
//   gradients (S,O,I)             optional; any strides in which o or i is contiguous
//   bias_gradients (S,O)          optional
//   squared_norms (S)             optional, float64: norms of this call's gradients, not of what they are added to
//   bias                          the layer has one
// Outputs are overwritten, or with `accumulate` added to. gradients can be a slice of the columns of an (S,P)
// matrix, and a transposed (I,O) parameter (GPT-2's Conv1D). For norms alone, G_s is never materialised
// beyond one block of rows; short functions use Σ_{n,n'} ⟨a,a'⟩⟨d,d'⟩ instead, whichever is cheaper (Li et
// al. 2021, "ghost norm"). Nothing may alias. Cost: 2 N I O flops for gradients; for norms alone Σ_s min(T_s
// (T_s + 1) (I + O), 2 T_s I O), where T_s is the number of rows of function s.
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

struct PerSampleLinearArgs {
  View a, d, offsets, a_rows, gradients, bias_gradients, squared_norms;
  bool bias = false;
  bool accumulate = false;

  static constexpr const char* kName = "per_sample_linear";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("a", s.a, "M I", kStored);
    f.in("d", s.d, "N O", kStored);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("a_rows", s.a_rows, "N", kOptional | kIndices);
    f.inout("gradients", s.gradients, "S O I", kOptional | kStrided);
    f.inout("bias_gradients", s.bias_gradients, "S O", kOptional);
    f.inout("squared_norms", s.squared_norms, "S", kOptional | kDouble);
    f.flag("bias", s.bias);
    f.flag("accumulate", s.accumulate);
  }
};

inline void check_args(const PerSampleLinearArgs& a) {
  check_offsets("per_sample_linear", "offsets", a.offsets, a.d.shape[0]);
  check_source_rows("per_sample_linear", "a", "a_rows", a.a, a.a_rows, a.d.shape[0]);
  const View& g = a.gradients;
  const bool by_inputs = g.stride[2] == 1 || g.shape[2] <= 1;
  const bool by_outputs = g.stride[1] == 1 || g.shape[1] <= 1;
  HF_CHECK(!g || by_inputs || by_outputs, ErrorCode::kShape,
           "per_sample_linear: gradients (S O I) must be contiguous in o or in i, "
           "got strides (%lld, %lld, %lld)",
           (long long)g.stride[0], (long long)g.stride[1], (long long)g.stride[2]);
  HF_CHECK(!a.bias_gradients || a.bias, ErrorCode::kInvalidArg,
           "per_sample_linear: bias_gradients need bias: true");
}

// Whether function s is cheaper through products of its rows than through its gradient.
inline bool ghost_norm_wins(double rows, double inputs, double outputs) {
  return (rows + 1) * (inputs + outputs) < 2 * inputs * outputs;
}

inline Cost cost(const PerSampleLinearArgs& a) {
  const double in = double(a.a.shape[1]), out = double(a.d.shape[1]);
  const int32_t* offsets = a.offsets.as<int32_t>();
  double flops = 0;
  for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s) {
    const double rows = offsets[s + 1] - offsets[s];
    const bool ghost = !a.gradients && ghost_norm_wins(rows, in, out);
    flops += ghost ? rows * (rows + 1) * (in + out) : 2 * rows * in * out;
    if (a.squared_norms && !ghost) flops += 2 * in * out;
  }
  return {flops,
          4.0 * (a.a.size() + a.d.size() + a.gradients.size() * bool(a.gradients) * (1 + a.accumulate))};
}

}  // namespace hf
