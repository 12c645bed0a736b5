// Applies a pointwise nonlinearity, as the MLP of a transformer does.
//   kind        y
//   gelu        x Φ(x), with Φ the normal distribution function        (Hendrycks & Gimpel 2016)
//   gelu_new    x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))               (the same, approximated)
//   silu_gate   silu(x) ∘ up, with silu(x) = x σ(x)                    (gated units: Shazeer 2020)
//   relu        max(x, 0)
//
// Fields:
//   x, y (N,C)     the input, and the result, which is overwritten
//   up (N,C)       the gate's other factor, for silu_gate and only for it
// Nothing may alias. Nothing is accumulated. The op is bound by memory: it reads x (and up) once and writes
// y.
#pragma once

#include "ops/fields.h"

namespace hf {

enum class ActivationKind : int32_t { kGelu, kGeluNew, kSiluGate, kRelu };
inline constexpr const char* kActivationKinds[] = {"gelu", "gelu_new", "silu_gate", "relu"};

struct ActivationArgs {
  View x, up, y;  // up only for silu_gate
  ActivationKind kind = ActivationKind::kGelu;

  static constexpr const char* kName = "activation";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C", kStored);
    f.in("up", s.up, "N C", kOptional | kStored);
    f.out("y", s.y, "N C", kStored);
    f.choice("kind", s.kind, kActivationKinds, 4);
  }
};

struct ActivationBackwardArgs {
  View x, up, d_y, d_x, d_up;
  ActivationKind kind = ActivationKind::kGelu;

  static constexpr const char* kName = "activation_backward";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C", kStored);
    f.in("up", s.up, "N C", kOptional | kStored);
    f.in("d_y", s.d_y, "N C", kStored);
    f.out("d_x", s.d_x, "N C", kStored);
    f.out("d_up", s.d_up, "N C", kOptional | kStored);
    f.choice("kind", s.kind, kActivationKinds, 4);
  }
};

struct ActivationJvpArgs {
  View x, up, t_x, t_up, t_y;
  ActivationKind kind = ActivationKind::kGelu;

  static constexpr const char* kName = "activation_jvp";
  template <class Self, class F>
  static void visit(Self& s, F&& f) {
    f.in("x", s.x, "N C", kStored);
    f.in("up", s.up, "N C", kOptional | kStored);
    f.in("t_x", s.t_x, "N C");
    f.in("t_up", s.t_up, "N C", kOptional);
    f.out("t_y", s.t_y, "N C");
    f.choice("kind", s.kind, kActivationKinds, 4);
  }
};

template <class A>
inline void check_gate(const A& a, const char* name) {
  HF_CHECK((a.kind == ActivationKind::kSiluGate) == bool(a.up), ErrorCode::kInvalidArg,
           "%s: up must be given for kind 'silu_gate' and only for it", name);
}
inline void check_args(const ActivationArgs& a) {
  check_gate(a, "activation");
}
inline void check_args(const ActivationBackwardArgs& a) {
  check_gate(a, "activation_backward");
  HF_CHECK(bool(a.up) == bool(a.d_up), ErrorCode::kInvalidArg,
           "activation_backward: d_up must be given exactly when up is");
}
inline void check_args(const ActivationJvpArgs& a) {
  check_gate(a, "activation_jvp");
  HF_CHECK(bool(a.up) == bool(a.t_up), ErrorCode::kInvalidArg,
           "activation_jvp: t_up must be given exactly when up is");
}
inline Cost cost(const ActivationArgs& a) {
  return {12.0 * a.x.size(), (a.up ? 12.0 : 8.0) * a.x.size()};
}
inline Cost cost(const ActivationBackwardArgs& a) {
  return {20.0 * a.x.size(), (a.up ? 20.0 : 12.0) * a.x.size()};
}
inline Cost cost(const ActivationJvpArgs& a) {
  return {20.0 * a.x.size(), (a.up ? 20.0 : 12.0) * a.x.size()};
}

}  // namespace hf
