// Ghost form: a task takes a pair of blocks of functions. For a tile of 96 × 96 rows, the products of the d's
// and of the a's stay in the L1/L2 cache of the core that made them, are multiplied entry by entry and summed
// per pair of functions.
#include "ops/gram/cpu/gram_pairs.h"

namespace hf::HF_ISA {
void run(const TokenGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, args.a, args.a_rows);
  const Rows y = symmetric ? x : rows_of(args.d2, args.offsets2, args.a2, args.a_rows2);
  const GramOutput gram = {args.gram.as<double>(), args.gram.stride[0], 1, symmetric};
  Scratch scratch(r);
  int32_t* const starts1 = scratch.allocate<int32_t>(x.functions + 1);
  int32_t* const starts2 = symmetric ? starts1 : scratch.allocate<int32_t>(y.functions + 1);
  const int64_t blocks1 = cut_functions(x, starts1),
                blocks2 = symmetric ? blocks1 : cut_functions(y, starts2);
  const int64_t inputs = args.a ? args.a.shape[1] : 0, outputs = args.d.shape[1];
  const float bias = args.bias;

  const int64_t tasks = symmetric ? blocks1 * (blocks1 + 1) / 2 : blocks1 * blocks2;
  // Cancellation is noticed between groups of tasks; threads join there, so a group is not small.
  const int64_t group = 64;
  for (int64_t first = 0; first < tasks; first += group) {
    checkpoint(r);
    parallel_for(r, tasks - first < group ? tasks - first : group, [&](int64_t index) {
      const BlockPair pair = block_pair(first + index, blocks2, symmetric);
      if (!args.accumulate)
        for_entries(starts1, starts2, pair, symmetric, [&](int64_t s, int64_t t) { gram.clear(s, t); });
      alignas(64) float p[kTile * kTile + kLanes], q[kTile * kTile + kLanes];
      const float *rows1[kTile], *rows2[kTile];
      int32_t first_wanted[kTile];  // of a function's own rows on, where K is symmetric
      const bool diagonal = symmetric && pair.b1 == pair.b2;
      const int64_t s0 = starts1[pair.b1], s1 = starts1[pair.b1 + 1], t0 = starts2[pair.b2],
                    t1 = starts2[pair.b2 + 1];
      for (int64_t n0 = x.begin(s0); n0 < x.end(s1 - 1); n0 += kTile) {
        const int64_t n1 = n0 + kTile < x.end(s1 - 1) ? n0 + kTile : x.end(s1 - 1);
        for (int64_t m0 = y.begin(t0); m0 < y.end(t1 - 1); m0 += kTile) {
          const int64_t m1 = m0 + kTile < y.end(t1 - 1) ? m0 + kTile : y.end(t1 - 1);
          if (diagonal)
            for (int64_t s = s0; s < s1; ++s)
              for (int64_t n = x.begin(s) > n0 ? x.begin(s) : n0; n < x.end(s) && n < n1; ++n)
                first_wanted[n - n0] = static_cast<int32_t>(x.begin(s) > m0 ? x.begin(s) - m0 : 0);
          for (int64_t n = n0; n < n1; ++n)
            rows1[n - n0] = x.gradient(n);
          for (int64_t m = m0; m < m1; ++m)
            rows2[m - m0] = y.gradient(m);
          row_products(rows1, n1 - n0, rows2, m1 - m0, outputs, q, diagonal ? first_wanted : nullptr);
          if (args.a) {
            for (int64_t n = n0; n < n1; ++n)
              rows1[n - n0] = x.input(n);
            for (int64_t m = m0; m < m1; ++m)
              rows2[m - m0] = y.input(m);
            row_products(rows1, n1 - n0, rows2, m1 - m0, inputs, p, diagonal ? first_wanted : nullptr);
          }
          for_entries(starts1, starts2, pair, symmetric, [&](int64_t s, int64_t t) {
            const int64_t i0 = x.begin(s) > n0 ? x.begin(s) : n0, i1 = x.end(s) < n1 ? x.end(s) : n1;
            const int64_t j0 = y.begin(t) > m0 ? y.begin(t) : m0, j1 = y.end(t) < m1 ? y.end(t) : m1;
            if (i0 < i1 && j0 < j1)
              gram.add(s, t, tile_sum(args.a ? p : nullptr, q, bias, i0 - n0, i1 - n0, j0 - m0, j1 - m0));
          });
        }
      }
    });
  }
}

}  // namespace hf::HF_ISA
