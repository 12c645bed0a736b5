// The cross term of tied parameters (ops/gram/tied_gram.h). A task owns a pair of blocks of functions. Tiles
// of ⟨φ, δ⟩ are made as in token_gram; the other factor is gathered from g as each tile is summed.
#include "ops/gram/cpu/gram_pairs.h"
#include "ops/gram/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

struct TiedGram {
  Rows x;  // (g, φ)
  Rows y;  // (δ)
  const int32_t* starts1;
  const int32_t* starts2;
  const int32_t* ids;  // of the rows of y
  int64_t first_id;    // of column 0 of g
  int64_t width;       // of φ and δ
  int64_t vocabulary;  // columns of g
  double* sums;        // (functions of x, functions of y)

  void add(BlockPair pair) const {
    const int64_t begin1 = x.begin(starts1[pair.b1]);
    const int64_t end1 = x.begin(starts1[pair.b1 + 1]);
    const int64_t begin2 = y.begin(starts2[pair.b2]);
    const int64_t end2 = y.begin(starts2[pair.b2 + 1]);
    alignas(64) float p[kTile * kTile + kLanes];
    const float* rows1[kTile];
    const float* rows2[kTile];
    for (int64_t n0 = begin1; n0 < end1; n0 += kTile)
      for (int64_t m0 = begin2; m0 < end2; m0 += kTile) {
        const RowRange range1 = {n0, least(n0 + kTile, end1)};
        const RowRange range2 = {m0, least(m0 + kTile, end2)};
        inputs_in(x, range1, rows1);
        gradients_in(y, range2, rows2);
        row_products(rows1, range1.count(), rows2, range2.count(), width, p);
        for_entries(starts1, starts2, pair, false, [&](int64_t s, int64_t t) {
          sums[s * y.functions + t] += gather(p, rows_in(x, s, range1), rows_in(y, t, range2), n0, m0);
        });
      }
  }

 private:
  // Σ g_n[ids_m] ⟨φ_n, δ_m⟩ over rows of one function each; p begins at rows n0 and m0.
  HF_INLINE double gather(const float* p, RowRange n_rows, RowRange m_rows, int64_t n0, int64_t m0) const {
    double sum = 0;
    for (int64_t n = n_rows.begin; n < n_rows.end; ++n)
      for (int64_t m = m_rows.begin; m < m_rows.end; ++m) {
        const int64_t column = ids[m] - first_id;
        if (column >= 0 && column < vocabulary)
          sum += double(x.gradient(n)[column] * p[(m - m0) * kTile + n - n0]);
      }
    return sum;
  }
};

}  // namespace

void run(const TiedGramArgs& args, Run& r) {
  const Rows x = rows_of(args.g, args.offsets, args.phi, args.phi_rows);
  const Rows y = rows_of(args.delta, args.offsets2, {}, {});
  const int64_t entries = x.functions * y.functions;
  Scratch scratch(r);
  int32_t* const starts1 = scratch.allocate<int32_t>(x.functions + 1);
  int32_t* const starts2 = scratch.allocate<int32_t>(y.functions + 1);
  double* const sums = scratch.allocate<double>(entries);
  for (int64_t i = 0; i < entries; ++i)
    sums[i] = 0;
  const int64_t blocks1 = cut_functions(x, starts1);
  const int64_t blocks2 = cut_functions(y, starts2);
  const TiedGram work = {
      .x = x,
      .y = y,
      .starts1 = starts1,
      .starts2 = starts2,
      .ids = args.ids.as<int32_t>(),
      .first_id = args.first_id,
      .width = args.phi.shape[1],
      .vocabulary = args.g.shape[1],
      .sums = sums,
  };
  const int64_t tasks = blocks1 * blocks2;
  for (int64_t first = 0; first < tasks; first += kTaskGroup) {
    checkpoint(r);
    parallel_for(r, least(tasks - first, kTaskGroup),
                 [&](int64_t index) { work.add(block_pair(first + index, blocks2, false)); });
  }
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t t = 0; t < y.functions; ++t) {
      const double mirrored = args.symmetrize ? sums[t * y.functions + s] : 0;
      const double sum = sums[s * y.functions + t] + mirrored;
      double& entry = args.gram.as<double>()[s * args.gram.stride[0] + t * args.gram.stride[1]];
      entry = args.accumulate ? entry + sum : sum;
    }
}

}  // namespace hf::HF_ISA
