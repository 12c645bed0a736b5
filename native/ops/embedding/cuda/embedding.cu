// Gathers rows of a table, and adds gradients back to them. To gather, a thread owns four columns of four
// rows. To add back, rows are sorted by id on the host; a thread owns four columns of one table row and adds
// its rows in their order, with the loads of eight under way. So there are no atomics, and the bits are the
// same every time. No shared memory. Memory bound: 8 bytes a number gathered (12 with positions), 4 a number
// added, and 8 a number of a table row that is used.
#include <vector>

#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

// 2^shift threads share a row of `columns`, which is cut into `chunks`. blockIdx.x counts groups of rows and,
// within a group, chunks.
struct Tiling {
  unsigned chunks;
  int shift;

  HF_DEVICE int64_t row() const {
    return int64_t(blockIdx.x / chunks) * (kThreads >> shift) + (threadIdx.x >> shift);
  }
  HF_DEVICE int64_t column() const {
    return (int64_t(blockIdx.x % chunks) << shift | (threadIdx.x & ((1u << shift) - 1))) * 4;
  }
};
Tiling tiling(int64_t columns) {
  const int shift = share_of_block(columns);
  return {blocks(columns, 4ll << shift), shift};
}
dim3 grid(int64_t rows, const Tiling& t) {
  return dim3(blocks(rows, kThreads >> t.shift) * t.chunks);
}

// Rows whose loads are under way together.
constexpr int kGathered = 4;
constexpr int kAdded = 8;

HF_KERNEL __launch_bounds__(kThreads)
    gather_kernel(Rows table, const int32_t* ids, Rows table2, const int32_t* ids2, Rows y, int64_t rows,
                  int64_t columns, Tiling tiling) {
  const int64_t first = tiling.row() * kGathered, c = tiling.column();
  if (c >= columns) return;
  Four out[kGathered], other[kGathered];
#pragma unroll
  for (int r = 0; r < kGathered; ++r) {
    if (first + r >= rows) break;
    out[r] = table.load(ids[first + r], c, columns);
    if (table2.data) other[r] = table2.load(ids2[first + r], c, columns);
  }
#pragma unroll
  for (int r = 0; r < kGathered; ++r) {
    if (first + r >= rows) break;
    if (table2.data)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        out[r].v[i] += other[r].v[i];
    y.store(first + r, c, columns, out[r]);
  }
}

// Rows order[begin[u]] … order[begin[u + 1] − 1] of d_y have one id, and are added to that row of the table,
// for each u of `uses`.
HF_KERNEL __launch_bounds__(kThreads, 3)
    scatter_kernel(const int32_t* ids, const int32_t* order, const int32_t* begin, Rows d_y, Rows d_table,
                   int64_t uses, int64_t columns, Tiling tiling) {
  const int64_t use = tiling.row(), c = tiling.column();
  if (use >= uses || c >= columns) return;
  const int32_t first = begin[use], end = begin[use + 1];
  const int64_t id = ids[order[first]];
  Four sum = d_table.load(id, c, columns);
  for (int32_t i = first; i < end; i += kAdded) {
    Four d[kAdded];
#pragma unroll
    for (int r = 0; r < kAdded; ++r)
      if (i + r < end) d[r] = d_y.load(order[i + r], c, columns);
#pragma unroll
    for (int r = 0; r < kAdded; ++r) {
      if (i + r >= end) break;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        sum.v[k] += d[r].v[k];
    }
  }
  d_table.store(id, c, columns, sum);
}

}  // namespace

void run(const EmbeddingArgs& args, Run& r) {
  on_device(args, r, [](const EmbeddingArgs& a, Stream& stream) {
    const int64_t rows = a.y.shape[0], columns = a.y.shape[1];
    const Tiling tiles = tiling(columns);
    launch("embedding", gather_kernel, grid(blocks(rows, kGathered), tiles), kThreads, 0, stream,
           rows_of(a.table), a.ids.as<const int32_t>(), rows_of(a.table2), a.ids2.as<const int32_t>(),
           rows_of(a.y), rows, columns, tiles);
  });
}

void run(const EmbeddingBackwardArgs& args, Run& r) {
  on_device(args, r, [&](const EmbeddingBackwardArgs& a, Stream& stream) {
    const int64_t rows = a.d_y.shape[0], columns = a.d_y.shape[1];
    const Tiling tiles = tiling(columns);
    const int32_t* ids = args.ids.as<const int32_t>();
    std::vector<int32_t> order(size_t(rows) + 1), begin;
    order_by_id(ids, rows, order.data());
    for (int64_t i = 0; i < rows; ++i)
      if (i == 0 || ids[order[i]] != ids[order[i - 1]]) begin.push_back(int32_t(i));
    const int64_t uses = int64_t(begin.size());
    begin.push_back(int32_t(rows));
    launch("embedding_backward", scatter_kernel, grid(uses, tiles), kThreads, 0, stream,
           a.ids.as<const int32_t>(), device_copy(r, order.data(), rows),
           device_copy(r, begin.data(), uses + 1), rows_of(a.d_y), rows_of(a.d_table), uses, columns, tiles);
  });
}

}  // namespace hf::cuda
