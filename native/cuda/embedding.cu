// Gather and scatter-add of rows. Gather: a block owns 1,024 columns of one row, a thread 4. Scatter: rows are sorted by id on the host, a
// block owns 1,024 columns of one table row and adds its rows in their order: no atomics, the same bits every time. No shared memory.
// Memory bound: 8 bytes a number gathered (12 with positions), 4 a number scattered and 8 a number of a table row that is used.
#include <vector>

#include "cuda/rows.h"
#include "cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kColumns = 4 * kThreads;

HF_KERNEL __launch_bounds__(kThreads)
    gather_kernel(Rows table, const int32_t* ids, Rows table2, const int32_t* ids2, Rows y, int64_t columns, int64_t chunks) {
  const int64_t n = blockIdx.x / chunks, c = blockIdx.x % chunks * kColumns + 4 * threadIdx.x;
  if (c >= columns) return;
  Four out = table.load(ids[n], c, columns);
  if (table2.data) {
    const Four other = table2.load(ids2[n], c, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i) out.v[i] += other.v[i];
  }
  y.store(n, c, columns, out);
}

// Rows order[begin[u]] … order[begin[u + 1] − 1] of d_y go to table row ids[order[begin[u]]].
HF_KERNEL __launch_bounds__(kThreads)
    scatter_kernel(const int32_t* ids, const int32_t* order, const int32_t* begin, Rows d_y, Rows d_table, int64_t columns, int64_t chunks) {
  const int64_t use = blockIdx.x / chunks, c = blockIdx.x % chunks * kColumns + 4 * threadIdx.x;
  if (c >= columns) return;
  const int32_t first = begin[use], end = begin[use + 1];
  const int64_t id = ids[order[first]];
  Four sum = d_table.load(id, c, columns);
  for (int32_t i = first; i < end; ++i) {
    const Four d = d_y.load(order[i], c, columns);
#pragma unroll
    for (int k = 0; k < 4; ++k) sum.v[k] += d.v[k];
  }
  d_table.store(id, c, columns, sum);
}

}  // namespace

void run(const EmbeddingArgs& args, Run& r) {
  on_device(args, r, [](const EmbeddingArgs& a, Stream& stream) {
    const int64_t columns = a.y.shape[1], chunks = blocks(columns, kColumns);
    launch("embedding", gather_kernel, dim3(unsigned(a.y.shape[0] * chunks)), kThreads, 0, stream, rows_of(a.table), a.ids.as<const int32_t>(),
           rows_of(a.table2), a.ids2.as<const int32_t>(), rows_of(a.y), columns, chunks);
  });
}

void run(const EmbeddingBackwardArgs& args, Run& r) {
  on_device(args, r, [&](const EmbeddingBackwardArgs& a, Stream& stream) {
    const int64_t rows = a.d_y.shape[0], columns = a.d_y.shape[1], chunks = blocks(columns, kColumns);
    const int32_t* ids = args.ids.as<const int32_t>();
    std::vector<int32_t> order(size_t(rows) + 1), begin;
    order_by_id(ids, rows, order.data());
    for (int64_t i = 0; i < rows; ++i)
      if (i == 0 || ids[order[i]] != ids[order[i - 1]]) begin.push_back(int32_t(i));
    const int64_t uses = int64_t(begin.size());
    begin.push_back(int32_t(rows));
    launch("embedding_backward", scatter_kernel, dim3(unsigned(uses * chunks)), kThreads, 0, stream, a.ids.as<const int32_t>(),
           device_copy(r, order.data(), rows), device_copy(r, begin.data(), uses + 1), rows_of(a.d_y), rows_of(a.d_table), columns, chunks);
  });
}

}  // namespace hf::cuda
