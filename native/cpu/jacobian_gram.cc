// For each block (outputs × inputs) of the layer: every function's gradient block by a packed product over its rows, functions shared out
// among threads; then the Gram matrix of the blocks by inner products of at most kGramDepth entries, added in float64.
#include "cpu/gemm.h"
#include "cpu/gram_pairs.h"
#include "kernels/detail/gram_blocks.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kRowsAtOnce = kMaxDepth;

// Rows row(0) … row(depth − 1) of `count` numbers as the packed panels of cpu/gemm.h, one depth block. Row by row, because rows may be pages
// apart; a panel narrower than a vector takes whole vectors, of which the next row overwrites what is too much.
template <class Row>
HF_INLINE void pack_rows(const Row& row, int64_t depth, int64_t count, int64_t width, float* out) {
  const int64_t whole = width >= kLanes ? count / width : (count >= kLanes ? (count - kLanes) / width + 1 : 0);
  for (int64_t k = 0; k < depth; ++k) {
    const float* const from = row(k);
    float* to = out + k * width;
    int64_t panel = 0;
    if (width <= kLanes && k + 2 < depth)
      for (; panel < whole; ++panel, to += depth * width) store(to, load(from + panel * width));
    else if (width == kTileColumns)
      for (; panel < whole; ++panel, to += depth * width) {
        store(to, load(from + panel * width));
        store(to + kLanes, load(from + panel * width + kLanes));
      }
    for (int64_t c = panel * width; c < count; c += width, to += depth * width)
      for (int64_t w = 0; w < width; w += kLanes)
        store_partial(to + w, w < count - c ? load_partial(from + c + w, count - c - w) : zero(), width - w);
  }
}

// g (outputs, inputs) of function s, then with `bias` (outputs) sums of d.
HF_NOINLINE void gradient_of(const Rows& x, int64_t s, int64_t o0, int64_t outputs, int64_t i0, int64_t inputs, bool bias, float* packed_outputs, float* packed_inputs,
                             float* g) {
  float* const sums = g + outputs * inputs;
  const int64_t begin = x.begin(s), end = x.end(s);
  for (int64_t n = begin; n < end || n == begin; n += kRowsAtOnce) {
    const int64_t count = end - n < kRowsAtOnce ? end - n : kRowsAtOnce;
    if (inputs && count) {
      pack_rows([&](int64_t k) { return x.gradient(n + k) + o0; }, count, outputs, panel_rows(outputs), packed_outputs);
      pack_rows([&](int64_t k) { return x.input(n + k) + i0; }, count, inputs, kTileColumns, packed_inputs);
      multiply_packed(packed_outputs, packed_inputs, outputs, inputs, count, 1, n > begin, g, inputs);
    }
  }
  if (begin == end)
    for (int64_t i = 0; i < outputs * inputs; ++i) g[i] = 0;
  if (!bias) return;
  for (int64_t o = 0; o < outputs; ++o) sums[o] = 0;
  for (int64_t n = begin; n < end; ++n)
    for (int64_t o = 0; o < outputs; ++o) sums[o] += x.gradient(n)[o0 + o];
}

}  // namespace

void run(const JacobianGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, args.a, args.a_rows);
  const Rows y = symmetric ? x : rows_of(args.d2, args.offsets2, args.a2, args.a_rows2);
  const GramOutput gram = {args.gram.as<double>(), args.gram.stride[0], 1, symmetric};
  if (!args.accumulate)
    for (int64_t s = 0; s < x.functions; ++s)
      for (int64_t t = 0; t < y.functions; ++t) gram.k[s * gram.stride0 + t] = 0;
  const int64_t outputs = args.d.shape[1], inputs = args.a.shape[1], functions = x.functions + (symmetric ? 0 : y.functions);
  if (x.functions == 0 || y.functions == 0 || outputs == 0 || inputs + args.bias == 0) return;

  const GradientBlock block = gradient_block(functions, outputs, inputs, args.max_bytes);
  const int64_t width = block.outputs * (block.inputs + args.bias), threads = r.threads < functions ? r.threads : functions;
  Scratch scratch(r);
  float* const gradients = scratch.allocate<float>(functions * width);
  const int64_t packed_inputs = packed_b_floats(kRowsAtOnce, block.inputs), packed_outputs = packed_a_floats(block.outputs, kRowsAtOnce);
  const int64_t buffer = packed_inputs + packed_outputs + 2 * kTileRows * kRowsAtOnce;  // a smaller last block may have wider panels
  float* const buffers = scratch.allocate<float>(threads * buffer);
  const int64_t blocks1 = divide_up(x.functions, kTile), blocks2 = divide_up(y.functions, kTile);
  const int64_t pairs = symmetric ? blocks1 * (blocks1 + 1) / 2 : blocks1 * blocks2;

  for (int64_t o0 = 0; o0 < outputs; o0 += block.outputs)
    for (int64_t i0 = 0; i0 < inputs || i0 == 0; i0 += block.inputs ? block.inputs : 1) {
      const int64_t o_count = outputs - o0 < block.outputs ? outputs - o0 : block.outputs, i_count = inputs - i0 < block.inputs ? inputs - i0 : block.inputs;
      const bool bias = args.bias && i0 == 0;
      const int64_t length = o_count * (i_count + bias);
      checkpoint(r);
      parallel_for(r, threads, [&](int64_t thread) {
        float* const mine = buffers + thread * buffer;
        for (int64_t s = thread; s < functions; s += threads)
          gradient_of(s < x.functions ? x : y, s < x.functions ? s : s - x.functions, o0, o_count, i0, i_count, bias, mine + packed_inputs, mine,
                      gradients + s * width);
      });
      parallel_for(r, pairs, [&](int64_t task) {
        const BlockPair pair = block_pair(task, blocks2, symmetric);
        const int64_t s0 = pair.b1 * kTile, s1 = s0 + kTile < x.functions ? s0 + kTile : x.functions;
        const int64_t t0 = pair.b2 * kTile, t1 = t0 + kTile < y.functions ? t0 + kTile : y.functions, first2 = symmetric ? 0 : x.functions;
        alignas(64) float products[kTile * kTile + kLanes];
        const float *rows1[kTile], *rows2[kTile];
        int32_t first[kTile];
        for (int32_t s = 0; s < kTile; ++s) first[s] = s;
        for (int64_t k = 0; k < length; k += kGramDepth) {
          for (int64_t s = s0; s < s1; ++s) rows1[s - s0] = gradients + s * width + k;
          for (int64_t t = t0; t < t1; ++t) rows2[t - t0] = gradients + (first2 + t) * width + k;
          row_products(rows1, s1 - s0, rows2, t1 - t0, length - k < kGramDepth ? length - k : kGramDepth, products,
                       symmetric && pair.b1 == pair.b2 ? first : nullptr);
          for (int64_t s = s0; s < s1; ++s)
            for (int64_t t = symmetric && t0 <= s ? s : t0; t < t1; ++t) gram.add(s, t, double(products[(t - t0) * kTile + s - s0]));
        }
      });
    }
}

}  // namespace hf::HF_ISA
