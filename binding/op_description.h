// An op as data for JavaScript: what documentation, TypeScript types and the test harness are made from.
#pragma once

#include <napi.h>

#include "op.h"

namespace hf::binding {

// { op, name, fields, backends } of NativeOp (src/core/addon/contract).
Napi::Object describe_op(Napi::Env env, const Op& op);

}  // namespace hf::binding
