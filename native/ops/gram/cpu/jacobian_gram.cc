// For each block (outputs × inputs) of the layer: every function's gradient block by a packed product over
// its rows, functions shared out among threads; then the Gram matrix of the blocks by inner products of at
// most kGramDepth entries, added in float64.
#include "ops/gram/cpu/gradient_blocks.h"
#include "ops/gram/gram_blocks.h"

namespace hf::HF_ISA {
void run(const JacobianGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, args.a, args.a_rows);
  const Rows y = symmetric ? x : rows_of(args.d2, args.offsets2, args.a2, args.a_rows2);
  const GramOutput gram = {args.gram.as<double>(), args.gram.stride[0], 1, symmetric};
  if (!args.accumulate)
    for (int64_t s = 0; s < x.functions; ++s)
      for (int64_t t = 0; t < y.functions; ++t)
        gram.k[s * gram.stride0 + t] = 0;
  const int64_t outputs = args.d.shape[1], inputs = args.a.shape[1],
                functions = x.functions + (symmetric ? 0 : y.functions);
  if (x.functions == 0 || y.functions == 0 || outputs == 0 || inputs + args.bias == 0) return;

  const GradientBlock block = gradient_block(functions, outputs, inputs, args.max_bytes);
  const int64_t width = block.outputs * (block.inputs + args.bias),
                threads = r.threads < functions ? r.threads : functions;
  Scratch scratch(r);
  float* const gradients = scratch.allocate<float>(functions * width);
  const int64_t buffer = pack_floats(block.outputs, block.inputs);
  float* const buffers = scratch.allocate<float>(threads * buffer);
  if (r.counting) return;
  const int64_t blocks1 = divide_up(x.functions, kTile), blocks2 = divide_up(y.functions, kTile);
  const int64_t pairs = symmetric ? blocks1 * (blocks1 + 1) / 2 : blocks1 * blocks2;

  for (int64_t o0 = 0; o0 < outputs; o0 += block.outputs)
    for (int64_t i0 = 0; i0 < inputs || i0 == 0; i0 += block.inputs ? block.inputs : 1) {
      const int64_t o_count = outputs - o0 < block.outputs ? outputs - o0 : block.outputs,
                    i_count = inputs - i0 < block.inputs ? inputs - i0 : block.inputs;
      const bool bias = args.bias && i0 == 0;
      const int64_t length = o_count * (i_count + bias);
      checkpoint(r);
      parallel_for(r, threads, [&](int64_t thread) {
        for (int64_t index = thread; index < functions; index += threads) {
          const bool second = index >= x.functions;
          const int64_t s = second ? index - x.functions : index;
          float* const g = gradients + index * width;
          gradient_of(second ? y : x, s, {o0, o_count, i0, i_count}, false, buffers + thread * buffer, g);
          if (bias) gradient_sums(second ? y : x, s, o0, o_count, g + o_count * i_count);
        }
      });
      parallel_for(r, pairs, [&](int64_t task) {
        const BlockPair pair = block_pair(task, blocks2, symmetric);
        const int64_t s0 = pair.b1 * kTile, s1 = s0 + kTile < x.functions ? s0 + kTile : x.functions;
        const int64_t t0 = pair.b2 * kTile, t1 = t0 + kTile < y.functions ? t0 + kTile : y.functions,
                      first2 = symmetric ? 0 : x.functions;
        alignas(64) float products[kTile * kTile + kLanes] = {};
        alignas(64) double sums[kTile * kTile] = {};
        const float *rows1[kTile], *rows2[kTile];
        int32_t first[kTile];
        for (int32_t s = 0; s < kTile; ++s)
          first[s] = s;
        for (int64_t k = 0; k < length; k += kGramDepth) {
          for (int64_t s = s0; s < s1; ++s)
            rows1[s - s0] = gradients + s * width + k;
          for (int64_t t = t0; t < t1; ++t)
            rows2[t - t0] = gradients + (first2 + t) * width + k;
          row_products(rows1, s1 - s0, rows2, t1 - t0, length - k < kGramDepth ? length - k : kGramDepth,
                       products, symmetric && pair.b1 == pair.b2 ? first : nullptr);
          for (int64_t i = 0; i < (t1 - t0) * kTile; ++i)
            sums[i] += double(products[i]);  // what was not wanted is added but not read
        }
        for (int64_t s = s0; s < s1; ++s)
          for (int64_t t = symmetric && t0 <= s ? s : t0; t < t1; ++t)
            gram.add(s, t, sums[(t - t0) * kTile + s - s0]);
      });
    }
}

}  // namespace hf::HF_ISA
