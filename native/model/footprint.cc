#include "model/footprint.h"

#include <algorithm>

namespace hf {
namespace {

struct Widths {
  int64_t C, F, qkv, attention, mlp_in;
  int64_t normed_heads = 0;  // heads of q and k that have a norm of their own

  explicit Widths(const ModelSpec& s)
      : C(s.hidden_size),
        F(s.mlp_size),
        qkv((s.heads + 2 * s.kv_heads) * s.head_dim),
        attention(s.heads * s.head_dim),
        mlp_in(s.mlp_size * int64_t(s.activation == ActivationKind::kSiluGate ? 2 : 1)) {
    for (const ParameterSpec& p : s.parameters)
      if (p.layer == 0)
        normed_heads += p.role == Role::kQNorm ? s.heads : p.role == Role::kKNorm ? s.kv_heads : 0;
  }
};

}  // namespace

int64_t layer_numbers(const ModelSpec& s) {
  const Widths w(s);
  return 3 * w.C + 4 + w.qkv + w.attention + s.heads + w.mlp_in + w.F + w.normed_heads * (2 * s.head_dim + 2);
}

int64_t activation_numbers(const ModelSpec& s, Keep keep, int first_kept) {
  const int64_t C = s.hidden_size, kept = s.layers - first_kept, rest = (first_kept > 0 ? 3 : 2) * C + 2;
  switch (keep) {
    case Keep::kAll: return kept * (layer_numbers(s) + C) + rest;
    case Keep::kLess:
      return kept * (layer_numbers(s) - 2 * C - s.mlp_size + C) + rest +
             std::max<int64_t>(C, s.mlp_size);  // and one that is computed again
    case Keep::kInputs: return kept * C + rest;
    case Keep::kFeatures: return 3 * C + 2;
  }
  return 0;
}

int64_t gradient_numbers(const ModelSpec& s, bool mapped) {
  const Widths w(s);
  const int64_t gathered = mapped,
                heads = std::max(s.heads, s.kv_heads) * (w.normed_heads > 0 ? 3 * s.head_dim + 2 : 0);
  const int64_t branches[] = {w.F + w.mlp_in * (1 + gathered),
                              w.qkv + heads + (w.qkv + w.attention + s.heads) * gathered,
                              w.C + (w.C + 2) * gathered};
  return 3 * w.C + w.attention + *std::max_element(std::begin(branches), std::end(branches));
}

int64_t packed_bytes(int64_t M, int64_t K) {
  return 4 * (M <= 14 ? M * K : std::min<int64_t>((M + 14) * K, 1152 * 512));
}

int64_t product_bytes(const ModelSpec& s, int64_t rows, bool backward) {
  const Widths w(s);
  const int64_t linears[][2] = {{w.qkv, w.C}, {w.C, w.attention}, {w.mlp_in, w.C}, {w.C, w.F}};
  int64_t most = 0;
  for (const auto& [out, in] : linears) {
    most = std::max(most, packed_bytes(rows, in));
    if (backward) most = std::max({most, packed_bytes(rows, out), packed_bytes(out, rows)});
  }
  return most;
}

}  // namespace hf
