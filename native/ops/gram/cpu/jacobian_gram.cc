// Jacobian contraction (ops/gram/jacobian_gram.h), for one block (outputs × inputs) of the layer after the
// other. First every function's gradient block is made by a packed product over its rows; a task owns every
// threads-th function. Then a task owns a tile of pairs of functions and adds the Gram matrix of the blocks
// by inner products of at most kGramDepth entries, in float64.
#include "ops/gram/cpu/gradient_blocks.h"
#include "ops/gram/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

// The gradient blocks of all functions, those of the second set after those of the first.
struct Gradients {
  const float* blocks;
  int64_t width;   // between two of them
  int64_t length;  // entries of this block

  HF_INLINE const float* at(int64_t index, int64_t k) const { return blocks + index * width + k; }
};

// K += the inner products of functions [s0, s1) of the first set and [t0, t1) of the second, which begins at
// `first2` of the gradients. symmetric: entries t ≥ s alone.
void add_products(const Gradients& g, RowRange s_range, RowRange t_range, int64_t first2, bool symmetric,
                  const GramOutput& gram) {
  const bool diagonal = symmetric && s_range.begin == t_range.begin;
  alignas(64) float products[kTile * kTile + kLanes] = {};
  alignas(64) double sums[kTile * kTile] = {};
  const float* rows1[kTile];
  const float* rows2[kTile];
  int32_t first_wanted[kTile];
  for (int32_t s = 0; s < kTile; ++s)
    first_wanted[s] = s;
  for (int64_t k = 0; k < g.length; k += kGramDepth) {
    for (int64_t s = s_range.begin; s < s_range.end; ++s)
      rows1[s - s_range.begin] = g.at(s, k);
    for (int64_t t = t_range.begin; t < t_range.end; ++t)
      rows2[t - t_range.begin] = g.at(first2 + t, k);
    row_products(rows1, s_range.count(), rows2, t_range.count(), least(g.length - k, kGramDepth), products,
                 diagonal ? first_wanted : nullptr);
    for (int64_t i = 0; i < t_range.count() * kTile; ++i)
      sums[i] += double(products[i]);  // what was not wanted is added but not read
  }
  for (int64_t s = s_range.begin; s < s_range.end; ++s)
    for (int64_t t = diagonal ? s : t_range.begin; t < t_range.end; ++t)
      gram.add(s, t, sums[(t - t_range.begin) * kTile + s - s_range.begin]);
}

}  // namespace

void run(const JacobianGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, args.a, args.a_rows);
  const Rows y = symmetric ? x : rows_of(args.d2, args.offsets2, args.a2, args.a_rows2);
  const GramOutput gram = gram_output(args.gram, symmetric);
  if (!args.accumulate) gram.clear_all(x.functions, y.functions);
  const int64_t outputs = args.d.shape[1];
  const int64_t inputs = args.a.shape[1];
  if (x.functions == 0 || y.functions == 0 || outputs == 0 || inputs + args.bias == 0) return;

  const cpu::JacobianGramSizes sizes(args, r.threads);
  const auto [block_outputs, block_inputs] = sizes.block;
  Scratch scratch(r);
  float* const gradients = scratch.allocate<float>(sizes.gradients());
  float* const packed = scratch.allocate<float>(sizes.threads * sizes.packed());
  const int64_t blocks1 = divide_up(x.functions, kTile);
  const int64_t blocks2 = divide_up(y.functions, kTile);
  const int64_t pairs = count_block_pairs(blocks1, blocks2, symmetric);
  const int64_t input_step = greatest(block_inputs, 1);

  for (int64_t o0 = 0; o0 < outputs; o0 += block_outputs)
    for (int64_t i0 = 0; i0 < inputs || i0 == 0; i0 += input_step) {  // once for a bias alone, too
      const BlockRange range = {o0, least(outputs - o0, block_outputs), i0, least(inputs - i0, block_inputs)};
      const bool bias = args.bias && i0 == 0;
      checkpoint(r);
      parallel_for(r, sizes.threads, [&](int64_t thread) {
        for (int64_t index = thread; index < sizes.functions; index += sizes.threads) {
          const bool second = index >= x.functions;
          const Rows& set = second ? y : x;
          const int64_t s = second ? index - x.functions : index;
          float* const g = gradients + index * sizes.width;
          gradient_of(set, s, range, false, packed + thread * sizes.packed(), g);
          if (bias) gradient_sums(set, s, o0, range.outputs, g + range.outputs * range.inputs);
        }
      });
      const Gradients blocks = {gradients, sizes.width, range.outputs * (range.inputs + bias)};
      parallel_for(r, pairs, [&](int64_t task) {
        const BlockPair pair = block_pair(task, blocks2, symmetric);
        const int64_t s0 = pair.b1 * kTile;
        const int64_t t0 = pair.b2 * kTile;
        const RowRange s_range = {s0, least(s0 + kTile, x.functions)};
        const RowRange t_range = {t0, least(t0 + kTile, y.functions)};
        add_products(blocks, s_range, t_range, symmetric ? 0 : x.functions, symmetric, gram);
      });
    }
}

}  // namespace hf::HF_ISA
