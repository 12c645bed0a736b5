// Tiles of ⟨φ, δ⟩ as in token_gram; the other factor is gathered from g as each tile is summed.
#include "ops/gram/cpu/gram_pairs.h"

namespace hf::HF_ISA {

void run(const TiedGramArgs& args, Run& r) {
  const Rows x = rows_of(args.g, args.offsets, args.phi, args.phi_rows),
             y = rows_of(args.delta, args.offsets2, {}, {});
  const int64_t width = args.phi.shape[1], vocabulary = args.g.shape[1];
  const int32_t* const ids = args.ids.as<int32_t>();
  Scratch scratch(r);
  int32_t* const starts1 = scratch.allocate<int32_t>(x.functions + 1);
  int32_t* const starts2 = scratch.allocate<int32_t>(y.functions + 1);
  double* const sums = scratch.allocate<double>(x.functions * y.functions);
  if (r.counting) return;
  for (int64_t i = 0; i < x.functions * y.functions; ++i)
    sums[i] = 0;
  const int64_t blocks1 = cut_functions(x, starts1), blocks2 = cut_functions(y, starts2),
                tasks = blocks1 * blocks2, group = 64;
  for (int64_t first = 0; first < tasks; first += group) {
    checkpoint(r);
    parallel_for(r, tasks - first < group ? tasks - first : group, [&](int64_t index) {
      const BlockPair pair = block_pair(first + index, blocks2, false);
      alignas(64) float p[kTile * kTile + kLanes];
      const float *rows1[kTile], *rows2[kTile];
      const int64_t end1 = x.begin(starts1[pair.b1 + 1]), end2 = y.begin(starts2[pair.b2 + 1]);
      for (int64_t n0 = x.begin(starts1[pair.b1]); n0 < end1; n0 += kTile)
        for (int64_t m0 = y.begin(starts2[pair.b2]); m0 < end2; m0 += kTile) {
          const int64_t n1 = n0 + kTile < end1 ? n0 + kTile : end1,
                        m1 = m0 + kTile < end2 ? m0 + kTile : end2;
          for (int64_t n = n0; n < n1; ++n)
            rows1[n - n0] = x.input(n);
          for (int64_t m = m0; m < m1; ++m)
            rows2[m - m0] = y.gradient(m);
          row_products(rows1, n1 - n0, rows2, m1 - m0, width, p);
          for_entries(starts1, starts2, pair, false, [&](int64_t s, int64_t t) {
            double sum = 0;
            for (int64_t n = x.begin(s) > n0 ? x.begin(s) : n0; n < x.end(s) && n < n1; ++n)
              for (int64_t m = y.begin(t) > m0 ? y.begin(t) : m0; m < y.end(t) && m < m1; ++m) {
                const int64_t column = ids[m] - args.first_id;
                if (column >= 0 && column < vocabulary)
                  sum += double(x.gradient(n)[column] * p[(m - m0) * kTile + n - n0]);
              }
            sums[s * y.functions + t] += sum;
          });
        }
    });
  }
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = 0; t < y.functions; ++t) {
      const double sum = sums[s * y.functions + t] + (args.symmetrize ? sums[t * y.functions + s] : 0);
      double& entry = args.gram.as<double>()[s * args.gram.stride[0] + t * args.gram.stride[1]];
      entry = args.accumulate ? entry + sum : sum;
    }
}

}  // namespace hf::HF_ISA
