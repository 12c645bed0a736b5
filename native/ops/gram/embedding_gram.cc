#include "ops/gram/embedding_gram.h"

#include <algorithm>

namespace hf {

void order_by_id(const int32_t* ids, int64_t rows, int32_t* order) {
  for (int64_t n = 0; n < rows; ++n)
    order[n] = static_cast<int32_t>(n);
  std::sort(order, order + rows,
            [ids](int32_t x, int32_t y) { return ids[x] != ids[y] ? ids[x] < ids[y] : x < y; });
}

}  // namespace hf
