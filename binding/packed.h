// Packed token lists from JavaScript (PackedSequences and PackedSamples of src/core/addon/contract.ts).
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "model/model.h"
#include "policy/score.h"

namespace hf::binding {

// Token lists copied out of JavaScript, kept alive by the job; every index is checked once, here.
struct Packed {
  std::vector<int32_t> ids, offsets, rows, targets, row_offsets;

  Samples samples() const {
    return {ids.data(), offsets.data(), sequences(), rows.data(), targets.data(), row_offsets.data()};
  }
  int64_t sequences() const { return int64_t(offsets.size()) - 1; }
};

std::shared_ptr<Packed> packed_sequences(const char* function, Napi::Value value, const Model& model);
std::shared_ptr<Packed> packed_samples(const char* function, Napi::Value value, const Model& model);

}  // namespace hf::binding
