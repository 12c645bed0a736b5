// A decoder-only transformer as data. Families (src/model/families) fill this in; the engine knows no family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/activation/activation.h"
#include "ops/norm/norm.h"

namespace hf {

// What a parameter is to the engine; presence decides (a model with a kQkvBias has that bias, one without
// kClassifier is tied).
enum class Role : int32_t {
  kEmbedding,
  kPosition,
  kAttentionNorm,
  kAttentionNormBias,
  kQ,
  kQBias,
  kK,
  kKBias,
  kV,
  kVBias,
  kQkv,
  kQkvBias,
  kQNorm,
  kKNorm,
  kAttentionOut,
  kAttentionOutBias,
  kMlpNorm,
  kMlpNormBias,
  kMlpGate,
  kMlpGateBias,
  kMlpUp,
  kMlpUpBias,
  kMlpDown,
  kMlpDownBias,
  kFinalNorm,
  kFinalNormBias,
  kClassifier,
  kLoraA,
  kLoraB,
};
inline constexpr const char* kRoles[] = {
    "embedding",
    "position",
    "attention_norm",
    "attention_norm_bias",
    "q",
    "q_bias",
    "k",
    "k_bias",
    "v",
    "v_bias",
    "qkv",
    "qkv_bias",
    "q_norm",
    "k_norm",
    "attention_out",
    "attention_out_bias",
    "mlp_norm",
    "mlp_norm_bias",
    "mlp_gate",
    "mlp_gate_bias",
    "mlp_up",
    "mlp_up_bias",
    "mlp_down",
    "mlp_down_bias",
    "final_norm",
    "final_norm_bias",
    "classifier",
    "lora_A",
    "lora_B",
};
inline constexpr int kRoleCount = sizeof kRoles / sizeof *kRoles;

// How the output of one fused query-key-value matrix lies: all q, all k, all v; or q, k, v head by head.
enum class QkvLayout : int32_t { kBlocks, kHeads };

struct ParameterSpec {
  std::string name;
  Role role = Role::kEmbedding;
  int layer = -1;  // −1 outside the layers
  std::vector<int64_t> shape;
  int target = -1;  // kLoraA (r, in) and kLoraB (out, r): the linear weight that they adapt
};

struct ModelSpec {
  int64_t vocab_size = 0;   // V
  int64_t hidden_size = 0;  // C
  int layers = 0;           // L
  int64_t heads = 0;        // H
  int64_t kv_heads = 0;     // G
  int64_t head_dim = 0;     // D
  int64_t mlp_size = 0;     // F
  int64_t max_positions = 0;
  NormKind norm = NormKind::kLayer;
  double norm_eps = 1e-5;
  ActivationKind activation = ActivationKind::kGelu;
  std::vector<double> inv_freq;  // rotary frequencies; empty: learned positions or none
  double rotary_scale = 1;
  bool parallel_residual = false;
  QkvLayout qkv_layout = QkvLayout::kBlocks;
  bool transposed_linears = false;  // linear weights are stored (in, out)
  double attention_scale = 1;
  double lora_scale = 1;  // of every adapter: α / r
  // Matrix products read weights rounded to bfloat16; what trains and is saved are the float32 originals.
  // Adapters stay float32.
  bool bfloat16 = false;
  std::vector<ParameterSpec> parameters;  // in storage order
};

}  // namespace hf
