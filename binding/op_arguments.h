// From JavaScript to an op's args struct: by name from an object, or packed into one array of numbers.
#pragma once

#include <napi.h>

#include <vector>

#include "op.h"

namespace hf::binding {

// Fills an args struct from a JavaScript object, by the fields' names.
class ObjectReader : public FieldVisitor {
 public:
  // `borrowed`, if given, collects the typed arrays that the views point into, for a call that outlives this
  // function.
  ObjectReader(const char* op, Napi::Object object, DType real,
               std::vector<Napi::TypedArray>* borrowed = nullptr)
      : op_(op), object_(object), real_(real), dims_(op), borrowed_(borrowed) {}

  void tensor(const char* name, View& view, FieldRole role, const char* dims, unsigned flags) override;
  void number(const char* name, double& value) override;
  void integer(const char* name, int64_t& value) override;
  void flag(const char* name, bool& value) override;
  void choice(const char* name, int& value, const char* const* names, int count) override;

  // After the last field: refuses unknown names, which would be silently ignored options, and makes the
  // outputs that were left out.
  void finish();
  // The outputs by name: the caller's own or new ones.
  Napi::Object results() const { return results_; }

 private:
  // An output to be made once every dimension is known.
  struct Missing {
    const char* name;
    View* view;
    const char* dims;
    unsigned flags;
  };

  Napi::Value get(const char* name);
  double number_of(const char* name, Napi::Value given) const;
  View borrow(const char* name, Napi::Value given);
  void bind(const char* name, Napi::Value given, View& view, const char* dims);
  void input(const char* name, View& view, const char* dims, unsigned flags);
  void output(const char* name, View& view, const char* dims, unsigned flags);
  void check_names() const;
  void allocate(const Missing& output);

  const char* op_;
  Napi::Object object_, results_;
  DType real_;
  DimTable dims_;
  std::vector<const char*> known_;
  std::vector<Missing> missing_;
  bool sound_ = true;  // required inputs are there, with the rank that they must have
  std::vector<Napi::TypedArray>* borrowed_;
};

// Fills an args struct from a packed call (src/kernels/pack.ts): numbers in one Float64Array, in the order of
// the field list, and typed arrays as arguments of the call. Reading properties through Node-API costs more
// than a small kernel; JavaScript reads its own objects cheaply.
//   a tensor: rank (0 = absent), which argument, offset, shape[4], stride[4]
//   a scalar: its value        a choice: its index
class FrameReader : public FieldVisitor {
 public:
  FrameReader(const char* op, Napi::Env env, const double* frame, const napi_value* arrays, size_t count)
      : op_(op), env_(env), frame_(frame), arrays_(arrays), count_(count) {}

  void tensor(const char* name, View& view, FieldRole role, const char* dims, unsigned flags) override;
  void number(const char*, double& value) override { value = *frame_++; }
  void integer(const char*, int64_t& value) override { value = static_cast<int64_t>(*frame_++); }
  void flag(const char*, bool& value) override { value = *frame_++ != 0; }
  void choice(const char*, int& value, const char* const*, int) override {
    value = static_cast<int>(*frame_++);
  }

 private:
  const char* op_;
  Napi::Env env_;
  const double* frame_;
  const napi_value* arrays_;
  size_t count_;
};

// The frame of a packed call. ERR_INVALID_ARG when `value` is no Float64Array.
const double* frame_of(const char* op, Napi::Env env, napi_value value);

}  // namespace hf::binding
