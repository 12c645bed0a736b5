// Enters the CUDA column's run() of every op into the table.
#include <type_traits>

#include "backends/cuda/stage.h"
#include "ops/op_table.h"

namespace hf {
namespace {
template <class Args>
void add() {
  if constexpr (!std::is_same_v<Args, NoArgs>)
    op_row<Args>()[static_cast<int>(Backend::kCuda)] = static_cast<OpFn<Args>>(&cuda::run);
}
}  // namespace

void register_cuda() {
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>();                         \
  add<Backward>();                        \
  add<Jvp>();
#include "ops/op_list.inc"
#undef HF_OP
}

}  // namespace hf
