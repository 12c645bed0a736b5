// Gather and scatter-add of rows (ops/embedding/embedding.h). Bound by memory. A task owns a block of rows to
// gather, or a block of columns to scatter, so that every sum runs in the order of the rows whatever the
// number of threads.
#include "backends/cpu/isa.h"
#include "backends/cpu/pack.h"
#include "backends/cpu/rows.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kGrain = 1 << 16;       // numbers gathered in about 30 µs
constexpr int64_t kScatterColumns = 128;  // 8 cache lines of a row at a time

// Element is the table's: float, or uint16_t for bfloat16.
template <class Element>
void gather(const EmbeddingArgs& a, Run& r) {
  const int64_t C = a.y.shape[1];
  const int32_t* ids = a.ids.as<int32_t>();
  const int32_t* ids2 = a.ids2.as<int32_t>();
  parallel_rows(r, a.y.shape[0], C, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const Element* row = a.table.as<Element>() + ids[n] * a.table.stride[0];
      float* y = a.y.as<float>() + n * a.y.stride[0];
      if (a.table2) {
        const float* row2 = a.table2.as<float>() + ids2[n] * a.table2.stride[0];
        each_vector(C, [&](int64_t c, int64_t count) HF_BODY {
          store_partial(y + c, fetch(row + c, count) + load_partial(row2 + c, count), count);
        });
      } else {
        each_vector(
            C, [&](int64_t c, int64_t count) HF_BODY { store_partial(y + c, fetch(row + c, count), count); });
      }
    }
  });
}

}  // namespace

void run(const EmbeddingArgs& a, Run& r) {
  if (a.table.dtype == DType::kBF16)
    gather<uint16_t>(a, r);
  else
    gather<float>(a, r);
}

void run(const EmbeddingBackwardArgs& a, Run& r) {
  const int64_t N = a.d_y.shape[0];
  const int64_t C = a.d_y.shape[1];
  const int32_t* ids = a.ids.as<int32_t>();
  const bool small = N * C < 2 * kGrain;
  const int64_t block = small ? (C > 0 ? C : 1) : kScatterColumns;
  parallel_for(r, (C + block - 1) / block, [&](int64_t task) {
    const int64_t begin = task * block;
    const int64_t columns = C - begin < block ? C - begin : block;
    for (int64_t n = 0; n < N; ++n) {
      const float* d_y = a.d_y.as<float>() + n * a.d_y.stride[0] + begin;
      float* d_row = a.d_table.as<float>() + ids[n] * a.d_table.stride[0] + begin;
      each_vector(columns, [&](int64_t c, int64_t count) HF_BODY {
        store_partial(d_row + c, load_partial(d_row + c, count) + load_partial(d_y + c, count), count);
      });
    }
  });
}

}  // namespace hf::HF_ISA
