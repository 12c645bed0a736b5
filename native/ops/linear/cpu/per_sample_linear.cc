// Per-sample gradients of a linear layer (ops/linear/per_sample_linear.h). A thread owns whole functions.
// Gradients are made block by block in scratch memory of its own, squared there, and copied to where they
// belong; norms of short functions come from the products of their rows instead.
#include "ops/gram/cpu/gradient_blocks.h"
#include "ops/linear/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kBlockOutputs = cpu::PerSampleLinearSizes::kBlockOutputs;
constexpr int64_t kBlockInputs = cpu::PerSampleLinearSizes::kBlockInputs;
constexpr int64_t kSquares = 1024;        // added in float32 before they are added in float64
constexpr int64_t kFunctionsAtOnce = 16;  // of a thread, between two looks at whether anybody waits

HF_INLINE double sum_of_squares(const float* x, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; i += kSquares) {
    const int64_t end = least(i + kSquares, count);
    Floats squares = zero();
    for (int64_t k = i; k < end; k += kLanes) {
      const Floats v = load_partial(x + k, end - k);
      squares = v * v + squares;
    }
    total += double(sum(squares));
  }
  return total;
}

// Σ over pairs of function s's rows of (⟨a,a'⟩ + bias) ⟨d,d'⟩.
HF_NOINLINE double ghost_norm(const Rows& x, int64_t s, int64_t inputs, int64_t outputs, float bias) {
  alignas(64) float p[kTile * kTile + kLanes];
  alignas(64) float q[kTile * kTile + kLanes];
  const float* rows1[kTile];
  const float* rows2[kTile];
  double total = 0;
  for (int64_t n0 = x.begin(s); n0 < x.end(s); n0 += kTile)
    for (int64_t m0 = n0; m0 < x.end(s); m0 += kTile) {
      const RowRange range1 = {n0, least(n0 + kTile, x.end(s))};
      const RowRange range2 = {m0, least(m0 + kTile, x.end(s))};
      gradients_in(x, range1, rows1);
      gradients_in(x, range2, rows2);
      row_products(rows1, range1.count(), rows2, range2.count(), outputs, q);
      inputs_in(x, range1, rows1);
      inputs_in(x, range2, rows2);
      row_products(rows1, range1.count(), rows2, range2.count(), inputs, p);
      const int times = n0 == m0 ? 1 : 2;  // the pair and its mirror image
      total += times * tile_sum(p, q, bias, 0, range1.count(), 0, range2.count());
    }
  return total;
}

// What the threads share, and the steps for one function.
struct PerSampleLinear {
  const PerSampleLinearArgs& args;
  Rows x;
  int64_t inputs;
  int64_t outputs;

  HF_INLINE explicit PerSampleLinear(const PerSampleLinearArgs& a)
      : args(a), x(rows_of(a.d, a.offsets, a.a, a.a_rows)), inputs(a.a.shape[1]), outputs(a.d.shape[1]) {}

  // Whether gradients are contiguous along o, not along i: then blocks are made the other way round.
  HF_INLINE bool swapped() const {
    const View& g = args.gradients;
    return g && g.stride[2] != 1 && g.shape[2] > 1;
  }
  HF_INLINE bool is_ghost(int64_t s) const {
    const double rows = double(x.end(s) - x.begin(s));
    return !args.gradients && ghost_norm_wins(rows, double(inputs), double(outputs));
  }

  // The bias's gradient of function s; returns the sum of its squares.
  HF_INLINE double bias_gradient(int64_t s, float* sums) const {
    gradient_sums(x, s, 0, outputs, sums);
    const View& out = args.bias_gradients;
    for (int64_t o = 0; out && o < outputs; ++o) {
      float& to = out.as<float>()[s * out.stride[0] + o];
      to = args.accumulate ? to + sums[o] : sums[o];
    }
    return sum_of_squares(sums, outputs);
  }

  // Copies a block of function s to where it belongs.
  HF_INLINE void store_block(int64_t s, const BlockRange& range, const float* block) const {
    const View& g = args.gradients;
    const int64_t rows = swapped() ? range.inputs : range.outputs;
    const int64_t columns = swapped() ? range.outputs : range.inputs;
    const int64_t row = swapped() ? g.stride[2] : g.stride[1];
    float* const to = g.as<float>() + s * g.stride[0] + range.o0 * g.stride[1] + range.i0 * g.stride[2];
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; j += kLanes) {
        float* const at = to + i * row + j;
        const Floats v = load_partial(block + i * columns + j, columns - j);
        store_partial(at, args.accumulate ? v + load_partial(at, columns - j) : v, columns - j);
      }
  }

  // The weight's gradient of function s, block by block; returns `squares` plus those of its entries.
  HF_INLINE double weight_gradient(int64_t s, float* packed, float* block, double squares) const {
    for (int64_t o0 = 0; o0 < outputs; o0 += kBlockOutputs)
      for (int64_t i0 = 0; i0 < inputs; i0 += kBlockInputs) {
        const BlockRange range = {o0, least(outputs - o0, kBlockOutputs), i0,
                                  least(inputs - i0, kBlockInputs)};
        gradient_of(x, s, range, swapped(), packed, block);
        if (args.squared_norms) squares += sum_of_squares(block, range.outputs * range.inputs);
        if (args.gradients) store_block(s, range, block);
      }
    return squares;
  }

  // Everything that is asked of function s; memory as cpu::PerSampleLinearSizes says.
  HF_INLINE void function(int64_t s, float* packed, float* block, float* sums) const {
    const bool ghost = is_ghost(s);
    const bool wants_norm(args.squared_norms);
    const bool norm_needs_bias = wants_norm && !ghost;
    double squares = 0;
    if (args.bias && (args.bias_gradients || norm_needs_bias)) squares += bias_gradient(s, sums);
    if (ghost && wants_norm)
      squares = ghost_norm(x, s, inputs, outputs, args.bias);
    else if (args.gradients || wants_norm)
      squares = weight_gradient(s, packed, block, squares);
    if (!wants_norm) return;
    double& norm = args.squared_norms.as<double>()[s];
    norm = args.accumulate ? norm + squares : squares;
  }
};

}  // namespace

void run(const PerSampleLinearArgs& args, Run& r) {
  const PerSampleLinear work(args);
  const int64_t functions = work.x.functions;
  if (functions == 0 || !(args.gradients || args.bias_gradients || args.squared_norms)) return;
  const cpu::PerSampleLinearSizes sizes(args, r.threads);
  const int64_t threads = sizes.threads;
  Scratch scratch(r);
  float* const memory = scratch.allocate<float>(threads * sizes.floats());
  const int64_t group = kFunctionsAtOnce * threads;
  for (int64_t first = 0; first < functions; first += group) {
    checkpoint(r);
    const int64_t last = least(first + group, functions);
    parallel_for(r, threads, [&](int64_t thread) {
      float* const packed = memory + thread * sizes.floats();
      float* const block = packed + sizes.packed();
      float* const sums = block + sizes.block();
      for (int64_t s = first + thread; s < last; s += threads)
        work.function(s, packed, block, sums);
    });
  }
}

}  // namespace hf::HF_ISA
