#include "op.h"

#include <new>
#include <type_traits>

namespace hf::binding {
namespace {

// What an args struct's visit() calls; hands every field on to a FieldVisitor.
class Fields {
 public:
  explicit Fields(FieldVisitor& visitor) : visitor_(visitor) {}
  void in(const char* name, View& view, const char* dims, unsigned flags = 0) {
    visitor_.tensor(name, view, FieldRole::kIn, dims, flags);
  }
  void out(const char* name, View& view, const char* dims, unsigned flags = 0) {
    visitor_.tensor(name, view, FieldRole::kOut, dims, flags);
  }
  void inout(const char* name, View& view, const char* dims, unsigned flags = 0) {
    visitor_.tensor(name, view, FieldRole::kInOut, dims, flags);
  }
  void number(const char* name, double& value) { visitor_.number(name, value); }
  void integer(const char* name, int64_t& value) { visitor_.integer(name, value); }
  void flag(const char* name, bool& value) { visitor_.flag(name, value); }
  template <class E>
  void choice(const char* name, E& value, const char* const* names, int count) {
    int index = static_cast<int>(value);
    visitor_.choice(name, index, names, count);
    value = static_cast<E>(index);
  }

 private:
  FieldVisitor& visitor_;
};

template <class Args>
const Args& args_in(const void* args) {
  return *static_cast<const Args*>(args);
}

template <class Args>
Op describe(const char* op) {
  static_assert(sizeof(Args) <= OpArgs::kMostBytes && std::is_trivially_copyable_v<Args>);
  return {
      .op = op,
      .name = Args::kName,
      .construct = [](void* args) { new (args) Args; },
      .visit = [](void* args,
                  FieldVisitor& visitor) { Args::visit(*static_cast<Args*>(args), Fields(visitor)); },
      .validate = [](const void* args, const Run& run,
                     bool check_overlap) { hf::validate(args_in<Args>(args), run, check_overlap); },
      .cost = [](const void* args) { return hf::cost(args_in<Args>(args)); },
      .implemented = [](Backend backend) { return op_row<Args>()[static_cast<int>(backend)] != nullptr; },
      .call = [](const void* args,
                 Run& run) { op_row<Args>()[static_cast<int>(run.backend)](args_in<Args>(args), run); },
  };
}

template <class Args>
void add(std::vector<Op>& ops, const char* op) {
  if constexpr (!std::is_same_v<Args, NoArgs>) ops.push_back(describe<Args>(op));
}

std::vector<Op> list_ops() {
  std::vector<Op> ops;
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>(ops, #op);                 \
  add<Backward>(ops, #op);                \
  add<Jvp>(ops, #op);
#include "ops/op_list.inc"
#undef HF_OP
  return ops;
}

}  // namespace

const std::vector<Op>& all_ops() {
  static const std::vector<Op> ops = list_ops();
  return ops;
}

}  // namespace hf::binding
