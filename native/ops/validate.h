// Checks the arguments of a call. validate() makes the checks that follow from the op's field list: presence,
// type, rank, named dimensions, contiguous rows, and (for callers from outside) outputs that overlap nothing
// else. Then it calls the op's own check_args, which stands in the contract if the op has one.
#pragma once

#include <stdint.h>

#include "ops/fields.h"
#include "runtime/run.h"

namespace hf {

// The default for ops whose field list says it all.
template <class Args>
inline void check_args(const Args&) {}

enum class FieldRole : int32_t { kIn, kOut, kInOut };

// Names bound to sizes so far within one call.
class DimTable {
 public:
  explicit DimTable(const char* op) : op_(op) {}
  void bind(const char* field, const View& view, const char* dims);
  // Size of a named dimension, or −1 while unknown. Parses "S+1", "S2|S" and numbers.
  int64_t size_of(const char* name, int length) const;
  static int rank_of(const char* dims);

 private:
  struct Entry {
    const char* name;
    int length;
    int64_t size;
    const char* field;  // that bound it
  };
  const Entry* find(const char* name, int length) const;

  const char* op_;
  Entry entries_[16];
  int count_ = 0;
};

// Checks one field after the other, as `visit` names them.
class Validator {
 public:
  Validator(const char* op, const Run& run, bool check_overlap)
      : op_(op), real_(run.real()), stored_(run.stored()), check_overlap_(check_overlap), dims_(op) {}
  void in(const char* name, const View& view, const char* dims, unsigned flags = 0) {
    tensor(name, view, dims, flags, FieldRole::kIn);
  }
  void out(const char* name, const View& view, const char* dims, unsigned flags = 0) {
    tensor(name, view, dims, flags, FieldRole::kOut);
  }
  void inout(const char* name, const View& view, const char* dims, unsigned flags = 0) {
    tensor(name, view, dims, flags, FieldRole::kInOut);
  }
  void number(const char*, double) {}
  void integer(const char*, int64_t) {}
  void flag(const char*, bool) {}
  template <class E>
  void choice(const char* name, E value, const char* const* names, int count) {
    enumerator(name, static_cast<int>(value), names, count);
  }
  void finish() const;  // the overlap check

 private:
  void tensor(const char* name, const View& view, const char* dims, unsigned flags, FieldRole role);
  void enumerator(const char* name, int value, const char* const* names, int count) const;

  struct Range {  // the memory of a tensor
    const char* name;
    const char* begin;
    const char* end;
    FieldRole role;
  };

  const char* op_;
  DType real_;
  DType stored_;
  bool check_overlap_;
  DimTable dims_;
  Range ranges_[40];
  int range_count_ = 0;
};

template <class Args>
void validate(const Args& args, const Run& run, bool check_overlap) {
  Validator validator(Args::kName, run, check_overlap);
  Args::visit(args, validator);
  validator.finish();
  check_args(args);
}

const char* dtype_name(DType dtype);

}  // namespace hf
