#include <type_traits>

#include "backends/reference/reference.h"
#include "ops/op_table.h"

namespace hf {
namespace {
template <class Args>
void add() {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    op_row<Args>()[static_cast<int>(Backend::kReference32)] = static_cast<OpFn<Args>>(&reference::run<float>);
    op_row<Args>()[static_cast<int>(Backend::kReference64)] =
        static_cast<OpFn<Args>>(&reference::run<double>);
  }
}
}  // namespace

void register_reference() {
#define HF_OP(op, Forward, Backward, Jvp) add<Forward>(), add<Backward>(), add<Jvp>();
#include "ops/op_list.inc"
#undef HF_OP
}

}  // namespace hf
