// Random projections of per-sample gradients that preserve inner products on average. The gradients are never
// formed. For repeats r = 0 … R − 1, each with K = A · B numbers:
//   sketches[s,r] += R₁ʳ G_s (R₂ʳ)ᵀ / √(A · B) = Σ_{n ∈ s} (R₁ʳ d_n) (R₂ʳ a_n)ᵀ / √(A · B)
// R₁ʳ (A,O), A = `left`, and R₂ʳ (B,I), B = K / left, have independent entries ±1 (rademacher) or normal
// (gaussian). So E⟨sketches[s,r], sketches[s',r]⟩ = ⟨G_s, G_s'⟩ for each r, and repeats are independent:
// their mean estimates the kernel with an error ∝ 1/√R, and their spread says how large it is (op
// sketch_gram). The factors are Kronecker products as in LoGra (Choe et al. 2024).
//
// Fields:
//   a (M,I)                     rows of inputs; absent: the constant 1 (a bias; or d is the per-sample gradient of
//                               an elementwise parameter, one row per function)
//   d (N,O)                     rows of output gradients
//   ids (N)                     instead of d: d_n = one-hot(ids[n]), and a_n is the gradient δ_n of an embedding row
//   offsets (S+1), a_rows (N)   who owns which rows (ops/gram/gradient_pairs.h)
//   sketches (S,R,K)            always accumulated
//   bias                        a gets one more entry, 1, at column I
//   first_column                this call's d is a slice of columns, from this one on; with ids it must be 0
//   seed, stream                which random numbers; each layer has a stream of its own
// Adding up the layers' sketches is a projection of the whole gradient, so memory is S · R · K for any number
// of layers. A tied classifier and its table are the same matrix: give both uses the same stream, and the
// cross terms are in the estimate. Slices of columns add up.
//
// Randomness is Philox (core/philox.h) keyed by `seed`. Column c of R₁ uses stream 2 · stream, one of R₂ uses
// 2 · stream + 1. Entry e = r · A + i (r · B + j) of column c is:
//   rademacher    bit e mod 128 of counter (c << 20) + e/128: word (e mod 128)/32, low bits first; set = +1
//   gaussian      the cosine (e even) or sine (e odd) member of the Box–Muller pair made of the uniforms at
//                 counters (c << 20) + 2⌊e/2⌋ and + 1
// Results do not depend on how columns, rows, functions or repeats are split into calls, beyond rounding. G_s
// is never materialised, nor R beyond a block of 512 columns. R₂ a of all rows of a exists at once: split
// samples into calls. Nothing may alias. Cost: 2 N R (A O + B I + K) flops.
#pragma once

#include "ops/gram/gradient_pairs.h"

namespace hf {

enum class Projection : int32_t { kRademacher, kGaussian };

// Columns of the random matrices that exist at a time.
constexpr int64_t kSketchColumns = 512;

struct SketchArgs {
  View a, d, ids, offsets, a_rows, sketches;
  int64_t left = 1;
  int64_t seed = 0;
  int64_t stream = 0;
  int64_t first_column = 0;
  bool bias = false;
  Projection projection = Projection::kRademacher;

  static constexpr const char* kName = "sketch";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    static constexpr const char* kProjections[] = {"rademacher", "gaussian"};
    f.in("a", s.a, "M I", kOptional | kStored);
    f.in("d", s.d, "N O", kOptional | kStored);
    f.in("ids", s.ids, "N", kOptional | kIndices);
    f.in("offsets", s.offsets, "S+1", kIndices);
    f.in("a_rows", s.a_rows, "N", kOptional | kIndices);
    f.inout("sketches", s.sketches, "S R K");
    f.integer("left", s.left);
    f.integer("seed", s.seed);
    f.integer("stream", s.stream);
    f.integer("first_column", s.first_column);
    f.flag("bias", s.bias);
    f.choice("projection", s.projection, kProjections, 2);
  }
};

inline int64_t sketch_rows(const SketchArgs& a) {
  return a.d ? a.d.shape[0] : a.ids.shape[0];
}

inline void check_args(const SketchArgs& a) {
  HF_CHECK(bool(a.d) != bool(a.ids), ErrorCode::kInvalidArg,
           "sketch: exactly one of d and ids must be given");
  check_offsets("sketch", "offsets", a.offsets, sketch_rows(a));
  check_source_rows("sketch", "a", "a_rows", a.a, a.a_rows, sketch_rows(a));
  HF_CHECK(a.seed >= 0 && a.stream >= 0 && a.first_column >= 0, ErrorCode::kInvalidArg,
           "sketch: seed, stream and first_column must not be negative");
  HF_CHECK(a.a || !a.bias, ErrorCode::kInvalidArg, "sketch: bias adds an entry to a, which is absent");
  HF_CHECK(a.left >= 1 && a.sketches.shape[2] % a.left == 0, ErrorCode::kShape,
           "sketch: sketches has K = %lld numbers a repeat, which must be a multiple of left, got %lld",
           (long long)a.sketches.shape[2], (long long)a.left);
  for (int64_t n = 0; a.ids && n < a.ids.shape[0]; ++n)
    HF_CHECK(a.ids.as<int32_t>()[n] >= 0, ErrorCode::kInvalidArg, "sketch: ids[%lld] = %d is negative",
             (long long)n, a.ids.as<int32_t>()[n]);
}
inline Cost cost(const SketchArgs& a) {
  const double rows = double(sketch_rows(a));
  const double repeats = double(a.sketches.shape[1]);
  const double left = double(a.left);
  const double right = double(a.sketches.shape[2]) / left;
  const double outputs = a.d ? double(a.d.shape[1]) : 0;
  const double inputs = a.a ? double(a.a.shape[1]) : 0;
  return {2 * rows * repeats * (left * outputs + right * inputs + left * right),
          4.0 * (a.d.size() * bool(a.d) + a.a.size() * bool(a.a) + 2 * a.sketches.size())};
}

}  // namespace hf
