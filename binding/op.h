// The op table without templates: every op's arguments as a list of named fields, and what can be done with
// them, as plain functions. The rest of the binding is written once for all ops on top of this.
#pragma once

#include <cstddef>
#include <vector>

#include "ops/op_table.h"

namespace hf::binding {

// Meets an op's fields one after the other, in the order of its field list (ops/fields.h), and may change
// their values.
class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void tensor(const char* name, View& view, FieldRole role, const char* dims, unsigned flags) = 0;
  virtual void number(const char*, double&) {}
  virtual void integer(const char*, int64_t&) {}
  virtual void flag(const char*, bool&) {}
  // An enum by the index of its entry.
  virtual void choice(const char*, int&, const char* const* /*names*/, int /*count*/) {}
};

// One entry point of the op table. `args` is a pointer to its args struct.
struct Op {
  const char* op;    // the row, e.g. 'norm'
  const char* name;  // this entry point, e.g. 'norm_backward'
  void (*construct)(void* args);
  void (*visit)(void* args, FieldVisitor& visitor);
  void (*validate)(const void* args, const Run& run, bool check_overlap);
  Cost (*cost)(const void* args);
  bool (*implemented)(Backend backend);
  void (*call)(const void* args, Run& run);  // on a backend that implements it
};

// Every op of the table that is defined.
const std::vector<Op>& all_ops();

// Memory for one op's args struct, with its defaults. All of them are plain structs of views and scalars, so
// this one copies as they do.
class OpArgs {
 public:
  explicit OpArgs(const Op& op) : op_(&op) { op.construct(bytes_); }

  const Op& op() const { return *op_; }
  void visit(FieldVisitor& visitor) { op_->visit(bytes_, visitor); }
  void validate(const Run& run, bool check_overlap) const { op_->validate(bytes_, run, check_overlap); }
  Cost cost() const { return op_->cost(bytes_); }
  // ERR_UNSUPPORTED where the backend does not implement the op.
  void check_implemented(Backend backend) const {
    HF_CHECK(op_->implemented(backend), ErrorCode::kUnsupported, "%s: not implemented for backend '%s'",
             op_->name, backend_name(backend));
  }
  void call(Run& run) const { op_->call(bytes_, run); }

  static constexpr size_t kMostBytes = 2560;

 private:
  const Op* op_;
  alignas(std::max_align_t) std::byte bytes_[kMostBytes];
};

}  // namespace hf::binding
