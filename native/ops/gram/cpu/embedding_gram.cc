// Rows sorted by id; a *use* is what one function adds to one id: its row, or the sum of its rows. Ids are
// taken in batches: the sums of a batch are made first, then a task takes a few functions and multiplies
// their uses with all uses of the same id.
#include "ops/gram/cpu/gram_pairs.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kOwned = 16;  // functions per task

struct Uses {
  Rows rows;
  const int32_t* order;
  const EmbeddingUse* use;
  int64_t count;
  const float** sum;  // per use of the current batch
};

HF_INLINE Uses find_uses(const View& ids, const Rows& x, Scratch& scratch) {
  const int64_t rows = ids.shape[0];
  int32_t* const order = scratch.allocate<int32_t>(rows);
  EmbeddingUse* const use = scratch.allocate<EmbeddingUse>(rows);
  int32_t* const function = scratch.allocate<int32_t>(rows);
  const float** const sum = scratch.allocate<const float*>(rows);
  if (scratch.run.counting) return {x, order, use, 0, sum};
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t n = x.begin(s); n < x.end(s); ++n)
      function[n] = static_cast<int32_t>(s);
  order_by_id(ids.as<const int32_t>(), rows, order);
  int64_t count = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t id = ids.as<const int32_t>()[order[i]], s = function[order[i]];
    if (count && use[count - 1].id == id && use[count - 1].function == s)
      ++use[count - 1].count;
    else
      use[count++] = {id, s, static_cast<int32_t>(i), 1};
  }
  return {x, order, use, count, sum};
}

// The first use from `from` on whose id is not below `id`.
HF_INLINE int64_t skip_to(const Uses& u, int64_t from, int32_t id) {
  while (from < u.count && u.use[from].id < id)
    ++from;
  return from;
}
HF_INLINE int64_t end_of_id(const Uses& u, int64_t from) {
  int64_t end = from;
  while (end < u.count && u.use[end].id == u.use[from].id)
    ++end;
  return end;
}

}  // namespace

void run(const EmbeddingGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, {}, {}),
             y = symmetric ? x : rows_of(args.d2, args.offsets2, {}, {});
  const GramOutput gram = {args.gram.as<double>(), args.gram.stride[0], 1, symmetric};
  if (!args.accumulate)
    for (int64_t s = 0; s < x.functions; ++s)
      for (int64_t t = 0; t < y.functions; ++t)
        gram.k[s * gram.stride0 + t] = 0;
  const int64_t width = args.d.shape[1], capacity = embedding_batch_rows(args);
  Scratch scratch(r);
  const Uses u = find_uses(args.ids, x, scratch), v = symmetric ? u : find_uses(args.ids2, y, scratch);
  float* const sums = scratch.allocate<float>(capacity * width);

  int64_t u0 = 0, v0 = 0;
  while (u0 < u.count) {
    checkpoint(r);
    // A batch: uses [u0, u1) and [v0, v1) of whole ids, sums of at most `capacity` of them.
    int64_t u1 = u0, v1 = v0, used = 0;
    while (u1 < u.count) {
      const int64_t u_end = end_of_id(u, u1), v_begin = symmetric ? u1 : skip_to(v, v1, u.use[u1].id);
      const int64_t v_end =
          symmetric
              ? u_end
              : (v_begin < v.count && v.use[v_begin].id == u.use[u1].id ? end_of_id(v, v_begin) : v_begin);
      const int64_t wanted = u_end - u1 + (symmetric ? 0 : v_end - v1);
      if (used && used + wanted > capacity) break;
      const auto place = [&](const Uses& set, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t i = begin; i < end; ++i)
          set.sum[i] =
              set.use[i].count == 1 ? set.rows.gradient(set.order[set.use[i].begin]) : sums + used++ * width;
      };
      // Ids of one set only are never multiplied: they have no sum.
      if (v_begin < v_end)
        place(u, u1, u_end);
      else
        for (int64_t i = u1; i < u_end; ++i)
          u.sum[i] = nullptr;
      if (!symmetric) {
        for (int64_t i = v1; i < v_begin; ++i)
          v.sum[i] = nullptr;
        place(v, v_begin, v_end);
      }
      u1 = u_end, v1 = v_end;
      if (used >= capacity) break;
    }
    const auto add_up = [&](const Uses& set, int64_t i) __attribute__((always_inline)) {
      const EmbeddingUse& use = set.use[i];
      if (use.count == 1 || !set.sum[i]) return;
      float* const sum = const_cast<float*>(set.sum[i]);
      for (int64_t c = 0; c < width; c += kLanes) {
        Floats total = zero();
        for (int32_t k = use.begin; k < use.begin + use.count; ++k)
          total += load_partial(set.rows.gradient(set.order[k]) + c, width - c);
        store_partial(sum + c, total, width - c);
      }
    };
    const int64_t batch_u = u1 - u0, batch_v = symmetric ? 0 : v1 - v0;
    parallel_for(r, batch_u + batch_v, [&](int64_t i) {
      if (i < batch_u)
        add_up(u, u0 + i);
      else
        add_up(v, v0 + i - batch_u);
    });
    parallel_for(r, (x.functions + kOwned - 1) / kOwned, [&](int64_t task) {
      const int32_t s0 = static_cast<int32_t>(task * kOwned), s1 = static_cast<int32_t>(s0 + kOwned);
      alignas(64) float products[kTile * kTile + kLanes];
      int64_t v_begin = symmetric ? u0 : v0;
      for (int64_t begin = u0, end; begin < u1; begin = end) {
        end = end_of_id(u, begin);
        v_begin = symmetric ? begin : skip_to(v, v_begin, u.use[begin].id);
        if (v_begin == v.count || v.use[v_begin].id != u.use[begin].id) continue;
        const int64_t v_end = symmetric ? end : end_of_id(v, v_begin);
        int64_t mine = begin, mine_end = begin;
        while (mine < end && u.use[mine].function < s0)
          ++mine;
        for (mine_end = mine; mine_end < end && u.use[mine_end].function < s1;)
          ++mine_end;
        if (mine == mine_end) continue;
        for (int64_t m0 = symmetric ? mine : v_begin; m0 < v_end; m0 += kTile) {
          const int64_t m1 = m0 + kTile < v_end ? m0 + kTile : v_end;
          row_products(u.sum + mine, mine_end - mine, v.sum + m0, m1 - m0, width, products);
          for (int64_t n = mine; n < mine_end; ++n)
            for (int64_t m = m0; m < m1; ++m)
              if (!symmetric || m >= n)
                gram.add(u.use[n].function, v.use[m].function, double(products[(m - m0) * kTile + n - mine]));
        }
      }
    });
    u0 = u1, v0 = v1;
  }
}

}  // namespace hf::HF_ISA
