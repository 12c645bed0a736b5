// Registers the reference columns: every op on float and on double.
#include <type_traits>

#include "backends/reference/reference.h"
#include "ops/op_table.h"

namespace hf {
namespace {

template <class Args>
void add() {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    OpFn<Args>* const row = op_row<Args>();
    row[static_cast<int>(Backend::kReference32)] = &reference::run<float>;
    row[static_cast<int>(Backend::kReference64)] = &reference::run<double>;
  }
}

}  // namespace

void register_reference() {
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>();                         \
  add<Backward>();                        \
  add<Jvp>();
#include "ops/op_list.inc"
#undef HF_OP
}

}  // namespace hf
