// How an op describes its arguments. Every args struct lists its fields once, in `visit`. Validation, the
// Node-API binding, `kernels.<op>`, its TypeScript types and its documentation are all derived from that
// list.
//
//   f.in / f.out / f.inout(name, view, dims, flags)    a tensor that is read, overwritten, or updated
//   f.integer / f.number / f.flag(name, value)         a scalar; its default is the struct's initialiser
//   f.choice(name, value, names, count)                an enum whose values are 0 … count − 1
//
// `dims` names the dimensions of a tensor, e.g. "N C": equal names must be equal sizes within one call. "S+1"
// is the size S plus one. "S2|S" is S2 where an earlier field has bound it, else S.
#pragma once

#include <stdint.h>

#include "core/fail.h"
#include "core/view.h"

namespace hf {

enum FieldFlags : unsigned {
  kOptional = 1u,  // may be absent
  kStrided = 2u,   // every stride is free; without it the last dimension is contiguous, rows may be apart
  kIndices = 4u,   // int32 rather than the run's real type
  kBytes = 8u,     // opaque bytes
  kDouble = 16u,   // always float64
  kBf16 = 32u,     // may also be bfloat16
  kStored = 64u,   // may also be bfloat16 on a run that stores activations so (Run::stored)
};

// An op without a backward or a jvp has this in its place (op_list.inc).
struct NoArgs {
  static constexpr const char* kName = nullptr;
};

// FLOPs and compulsory memory traffic of one call; what the planner and the roofline are computed from.
struct Cost {
  double flops = 0;
  double bytes = 0;
};

}  // namespace hf
