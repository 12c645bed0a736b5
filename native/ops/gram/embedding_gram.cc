#include "ops/gram/embedding_gram.h"

#include <algorithm>

namespace hf {

void order_by_id(const int32_t* ids, int64_t rows, int32_t* order) {
  for (int64_t n = 0; n < rows; ++n)
    order[n] = static_cast<int32_t>(n);
  std::sort(order, order + rows,
            [ids](int32_t x, int32_t y) { return ids[x] != ids[y] ? ids[x] < ids[y] : x < y; });
}

int64_t workspace_bytes(const EmbeddingGramArgs& a) {
  const int64_t rows = a.d.shape[0] + (a.d2 ? a.d2.shape[0] : 0);
  return rows * int64_t(sizeof(int32_t) + sizeof(EmbeddingUse)) +
         embedding_batch_rows(a) * (4 * a.d.shape[1] + 8);
}

int64_t embedding_batch_rows(const EmbeddingGramArgs& a) {
  const int64_t functions = a.offsets.shape[0] - 1 + (a.offsets2 ? a.offsets2.shape[0] - 1 : 0);
  return std::max(functions, (int64_t{4} << 20) / (4 * std::max<int64_t>(a.d.shape[1], 1)));
}

}  // namespace hf
