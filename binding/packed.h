// Packed token lists from JavaScript (PackedSequences and PackedSamples of src/core/addon/contract).
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "analysis/tangents.h"
#include "model/model.h"
#include "ntk/derivatives.h"
#include "policy/score.h"

namespace hf::binding {

// Token lists copied out of JavaScript, kept alive by the job; every index is checked once, here.
struct Packed {
  std::vector<int32_t> ids, offsets, rows, targets, row_offsets;

  int64_t sequences() const { return int64_t(offsets.size()) - 1; }
  Sequences list() const { return {.ids = ids.data(), .offsets = offsets.data(), .count = sequences()}; }
  Samples samples() const {
    return {
        .ids = ids.data(),
        .offsets = offsets.data(),
        .sequences = sequences(),
        .rows = rows.data(),
        .targets = targets.data(),
        .row_offsets = row_offsets.data(),
    };
  }
};

std::shared_ptr<Packed> packed_sequences(const char* function, Napi::Value value, const Model& model);
std::shared_ptr<Packed> packed_samples(const char* function, Napi::Value value, const Model& model);

// Prefixes of texts: packed sequences, and the row of each prefix's last token.
struct PackedPrefixes {
  std::shared_ptr<Packed> packed;
  std::vector<int32_t> rows;

  Prefixes prefixes() const { return {.sequences = packed->list(), .rows = rows}; }
};
std::shared_ptr<PackedPrefixes> packed_prefixes(const char* function, Napi::Value value, const Model& model);

}  // namespace hf::binding
