// The ghost form of a kernel (ops/gram/token_gram.h). A task owns a pair of blocks of functions. For a tile
// of 96 × 96 rows, the products of the d's and of the a's stay in the L1 and L2 cache of the core that made
// them; they are multiplied entry by entry and summed per pair of functions.
#include "ops/gram/cpu/gram_pairs.h"
#include "ops/gram/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

// A symmetric pair of blocks with itself needs, of every row n, the products with rows from its function's
// own begin on: first_wanted[i] for row range1.begin + i, counted from range2.begin.
HF_INLINE void find_first_wanted(const Rows& x, int64_t s0, int64_t s1, RowRange range1, RowRange range2,
                                 int32_t* first_wanted) {
  for (int64_t s = s0; s < s1; ++s) {
    const int64_t first = greatest(x.begin(s) - range2.begin, 0);
    const RowRange own = rows_in(x, s, range1);
    for (int64_t n = own.begin; n < own.end; ++n)
      first_wanted[n - range1.begin] = static_cast<int32_t>(first);
  }
}

// The pair of blocks that a task works on.
struct TokenGram {
  Rows x;
  Rows y;
  GramOutput gram;
  const int32_t* starts1;
  const int32_t* starts2;
  bool symmetric;
  int64_t inputs;
  int64_t outputs;
  bool has_inputs;
  float bias;

  void add(BlockPair pair) const {
    const bool diagonal = symmetric && pair.b1 == pair.b2;
    const int64_t s0 = starts1[pair.b1];
    const int64_t s1 = starts1[pair.b1 + 1];
    const int64_t begin1 = x.begin(s0);
    const int64_t end1 = x.end(s1 - 1);
    const int64_t begin2 = y.begin(starts2[pair.b2]);
    const int64_t end2 = y.end(starts2[pair.b2 + 1] - 1);
    alignas(64) float p[kTile * kTile + kLanes];  // products of the a's
    alignas(64) float q[kTile * kTile + kLanes];  // products of the d's
    const float* rows1[kTile];
    const float* rows2[kTile];
    int32_t first_wanted[kTile];
    for (int64_t n0 = begin1; n0 < end1; n0 += kTile) {
      const RowRange range1 = {n0, least(n0 + kTile, end1)};
      for (int64_t m0 = begin2; m0 < end2; m0 += kTile) {
        const RowRange range2 = {m0, least(m0 + kTile, end2)};
        if (diagonal) find_first_wanted(x, s0, s1, range1, range2, first_wanted);
        const int32_t* const first = diagonal ? first_wanted : nullptr;
        gradients_in(x, range1, rows1);
        gradients_in(y, range2, rows2);
        row_products(rows1, range1.count(), rows2, range2.count(), outputs, q, first);
        if (has_inputs) {
          inputs_in(x, range1, rows1);
          inputs_in(y, range2, rows2);
          row_products(rows1, range1.count(), rows2, range2.count(), inputs, p, first);
        }
        for_entries(starts1, starts2, pair, symmetric, [&](int64_t s, int64_t t) {
          const RowRange i = rows_in(x, s, range1);
          const RowRange j = rows_in(y, t, range2);
          if (i.begin < i.end && j.begin < j.end)
            gram.add(s, t,
                     tile_sum(has_inputs ? p : nullptr, q, bias, i.begin - n0, i.end - n0, j.begin - m0,
                              j.end - m0));
        });
      }
    }
  }
};

}  // namespace

void run(const TokenGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, args.a, args.a_rows);
  const Rows y = symmetric ? x : rows_of(args.d2, args.offsets2, args.a2, args.a_rows2);
  Scratch scratch(r);
  int32_t* const starts1 = scratch.allocate<int32_t>(x.functions + 1);
  int32_t* const starts2 = symmetric ? starts1 : scratch.allocate<int32_t>(y.functions + 1);
  const int64_t blocks1 = cut_functions(x, starts1);
  const int64_t blocks2 = symmetric ? blocks1 : cut_functions(y, starts2);
  const TokenGram work = {
      .x = x,
      .y = y,
      .gram = gram_output(args.gram, symmetric),
      .starts1 = starts1,
      .starts2 = starts2,
      .symmetric = symmetric,
      .inputs = args.a ? args.a.shape[1] : 0,
      .outputs = args.d.shape[1],
      .has_inputs = static_cast<bool>(args.a),
      .bias = static_cast<float>(args.bias),
  };
  const int64_t tasks = count_block_pairs(blocks1, blocks2, symmetric);
  for (int64_t first = 0; first < tasks; first += kTaskGroup) {
    checkpoint(r);
    parallel_for(r, least(tasks - first, kTaskGroup), [&](int64_t index) {
      const BlockPair pair = block_pair(first + index, blocks2, symmetric);
      if (!args.accumulate)
        for_entries(starts1, starts2, pair, symmetric, [&](int64_t s, int64_t t) { work.gram.clear(s, t); });
      work.add(pair);
    });
  }
}

}  // namespace hf::HF_ISA
