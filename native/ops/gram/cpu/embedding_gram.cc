// The kernel of an embedding table (ops/gram/embedding_gram.h).
//
// Rows are sorted by id. A *use* is what one function adds to one id: its row, or the sum of its rows. Ids
// are taken in batches of as many as there is room for sums. First the sums of a batch are made, a use a
// task. Then a task owns a few functions and multiplies their uses with all uses of the same id.
#include "ops/gram/cpu/gram_pairs.h"
#include "ops/gram/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

using cpu::EmbeddingUse;

constexpr int64_t kOwned = 16;  // functions per task

// The uses of one set, by id, then by function.
struct Uses {
  Rows rows;
  const int32_t* order;  // of the rows, by id
  const EmbeddingUse* use;
  int64_t count;
  const float** sum;  // per use of the current batch: the row, or where the sum of the rows is

  HF_INLINE int32_t id(int64_t i) const { return use[i].id; }
  // The first use from `from` on whose id is not below `wanted`.
  HF_INLINE int64_t skip_to(int64_t from, int32_t wanted) const {
    while (from < count && id(from) < wanted)
      ++from;
    return from;
  }
  // The end of the uses that have the id of use `from`.
  HF_INLINE int64_t end_of_id(int64_t from) const {
    int64_t end = from;
    while (end < count && id(end) == id(from))
      ++end;
    return end;
  }
};

HF_INLINE Uses find_uses(const View& ids, const Rows& x, Scratch& scratch) {
  const int64_t rows = ids.shape[0];
  int32_t* const order = scratch.allocate<int32_t>(rows);
  EmbeddingUse* const use = scratch.allocate<EmbeddingUse>(rows);
  int32_t* const function = scratch.allocate<int32_t>(rows);
  for (int64_t s = 0; s < x.functions; ++s)
    for (int64_t n = x.begin(s); n < x.end(s); ++n)
      function[n] = static_cast<int32_t>(s);
  order_by_id(ids.as<const int32_t>(), rows, order);
  int64_t count = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t id = ids.as<const int32_t>()[order[i]];
    const int32_t s = function[order[i]];
    const bool same_use = count && use[count - 1].id == id && use[count - 1].function == s;
    if (same_use)
      ++use[count - 1].count;
    else
      use[count++] = {id, s, static_cast<int32_t>(i), 1};
  }
  return {x, order, use, count, scratch.allocate<const float*>(rows)};
}

// Uses [u0, u1) of the first set and [v0, v1) of the second, of whole ids.
struct Batch {
  int64_t u0;
  int64_t u1;
  int64_t v0;
  int64_t v1;
};

struct EmbeddingGram {
  Uses u;
  Uses v;
  bool symmetric;  // v is u
  int64_t width;
  float* sums;       // (capacity, width)
  int64_t capacity;  // sums that there is room for
  GramOutput gram;

  // The batch that begins at u0 and v0, as large as there is room for, and where each use's sum goes.
  HF_INLINE Batch next_batch(int64_t u0, int64_t v0) const {
    int64_t u1 = u0;
    int64_t v1 = v0;
    int64_t used = 0;
    while (u1 < u.count && used < capacity) {
      const int64_t u_end = u.end_of_id(u1);
      const int64_t v_begin = symmetric ? u1 : v.skip_to(v1, u.id(u1));
      const bool in_both = v_begin < v.count && v.id(v_begin) == u.id(u1);
      const int64_t v_end = symmetric ? u_end : in_both ? v.end_of_id(v_begin) : v_begin;
      const int64_t wanted = u_end - u1 + (symmetric ? 0 : v_end - v1);
      if (used && used + wanted > capacity) break;
      // Ids of one set only are never multiplied: they have no sum.
      if (in_both)
        used = place(u, u1, u_end, used);
      else
        leave_out(u, u1, u_end);
      if (!symmetric) {
        leave_out(v, v1, v_begin);
        used = place(v, v_begin, v_end, used);
      }
      u1 = u_end;
      v1 = v_end;
    }
    return {u0, u1, v0, v1};
  }

  // The sum of use i of a set, if it is one.
  HF_INLINE void add_up(const Uses& set, int64_t i) const {
    const EmbeddingUse& use = set.use[i];
    if (use.count == 1 || !set.sum[i]) return;
    float* const sum = const_cast<float*>(set.sum[i]);
    for (int64_t c = 0; c < width; c += kLanes) {
      Floats total = zero();
      for (int32_t k = use.begin; k < use.begin + use.count; ++k)
        total += load_partial(set.rows.gradient(set.order[k]) + c, width - c);
      store_partial(sum + c, total, width - c);
    }
  }

  // The products of the batch's uses by functions [s0, s1) of the first set.
  void multiply(const Batch& batch, int32_t s0, int32_t s1) const {
    alignas(64) float products[kTile * kTile + kLanes];
    int64_t v_begin = symmetric ? batch.u0 : batch.v0;
    for (int64_t begin = batch.u0, end; begin < batch.u1; begin = end) {
      end = u.end_of_id(begin);
      v_begin = symmetric ? begin : v.skip_to(v_begin, u.id(begin));
      if (v_begin == v.count || v.id(v_begin) != u.id(begin)) continue;
      const int64_t v_end = symmetric ? end : v.end_of_id(v_begin);
      int64_t mine = begin;
      while (mine < end && u.use[mine].function < s0)
        ++mine;
      int64_t mine_end = mine;
      while (mine_end < end && u.use[mine_end].function < s1)
        ++mine_end;
      if (mine == mine_end) continue;
      for (int64_t m0 = symmetric ? mine : v_begin; m0 < v_end; m0 += kTile) {
        const int64_t m1 = least(m0 + kTile, v_end);
        row_products(u.sum + mine, mine_end - mine, v.sum + m0, m1 - m0, width, products);
        for (int64_t n = mine; n < mine_end; ++n)
          for (int64_t m = m0; m < m1; ++m)
            if (!symmetric || m >= n)
              gram.add(u.use[n].function, v.use[m].function, double(products[(m - m0) * kTile + n - mine]));
      }
    }
  }

 private:
  // Where the sums of uses [begin, end) go, of which `used` are taken; a single row is its own sum. Returns
  // how many are taken then.
  HF_INLINE int64_t place(const Uses& set, int64_t begin, int64_t end, int64_t used) const {
    for (int64_t i = begin; i < end; ++i) {
      const EmbeddingUse& use = set.use[i];
      if (use.count == 1) {
        set.sum[i] = set.rows.gradient(set.order[use.begin]);
      } else {
        set.sum[i] = sums + used * width;
        ++used;
      }
    }
    return used;
  }
  HF_INLINE static void leave_out(const Uses& set, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      set.sum[i] = nullptr;
  }
};

}  // namespace

void run(const EmbeddingGramArgs& args, Run& r) {
  const bool symmetric = !args.offsets2;
  const Rows x = rows_of(args.d, args.offsets, {}, {});
  const Rows y = symmetric ? x : rows_of(args.d2, args.offsets2, {}, {});
  const GramOutput gram = gram_output(args.gram, symmetric);
  if (!args.accumulate) gram.clear_all(x.functions, y.functions);
  const int64_t width = args.d.shape[1];
  const int64_t capacity = cpu::embedding_sums(args);
  Scratch scratch(r);
  const Uses u = find_uses(args.ids, x, scratch);
  const Uses v = symmetric ? u : find_uses(args.ids2, y, scratch);
  float* const sums = scratch.allocate<float>(capacity * width);
  const EmbeddingGram work = {u, v, symmetric, width, sums, capacity, gram};

  Batch batch = {0, 0, 0, 0};
  while (batch.u1 < u.count) {
    checkpoint(r);
    batch = work.next_batch(batch.u1, batch.v1);
    const int64_t of_u = batch.u1 - batch.u0;
    const int64_t of_v = symmetric ? 0 : batch.v1 - batch.v0;
    parallel_for(r, of_u + of_v, [&](int64_t i) {
      if (i < of_u)
        work.add_up(u, batch.u0 + i);
      else
        work.add_up(v, batch.v0 + i - of_u);
    });
    parallel_for(r, divide_up(x.functions, kOwned), [&](int64_t task) {
      const int32_t s0 = static_cast<int32_t>(task * kOwned);
      work.multiply(batch, s0, static_cast<int32_t>(s0 + kOwned));
    });
  }
}

}  // namespace hf::HF_ISA
