// What the engine's passes hold, in step with forward.cc and backward.cc: planners add these up before
// anything runs.
#pragma once

#include "model/forward.h"

namespace hf {

// Numbers that one row of activations holds in one layer: all but its input and its output.
int64_t layer_numbers(const ModelSpec& spec);
// … and in what forward() has left at its end, every layer's input and output and the final norm included.
int64_t activation_numbers(const ModelSpec& spec, Keep keep, int first_kept = 0);
// Numbers that one row of gradients holds at the worst point of the backward pass, the features' gradient
// included. mapped: functions share forward passes, so activations are gathered into gradient rows.
int64_t gradient_numbers(const ModelSpec& spec, bool mapped);
// Bytes of packed panels in a product of (M,K) and anything, as native/ops/linear/cpu/gemm.cc cuts it.
int64_t packed_bytes(int64_t M, int64_t K);
// … in the largest product of a layer with so many rows; backward: of its gradients.
int64_t product_bytes(const ModelSpec& spec, int64_t rows, bool backward);

}  // namespace hf
