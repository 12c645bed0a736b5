#include "packed.h"

#include "options.h"

namespace hf::binding {
namespace {

void check_offsets(const char* function, const char* name, const std::vector<int32_t>& offsets,
                   size_t total) {
  bool good = !offsets.empty() && offsets.front() == 0 && offsets.back() == int64_t(total);
  for (size_t i = 1; i < offsets.size(); ++i)
    good = good && offsets[i - 1] <= offsets[i];
  HF_CHECK(good, ErrorCode::kInvalidArg, "%s: %s must rise from 0 to %zu", function, name, total);
}

std::shared_ptr<Packed> read(const char* function, Napi::Value value, const Model& model, bool scored) {
  const Options options(function, value);
  auto packed = std::make_shared<Packed>();
  packed->ids = options.indices("ids"), packed->offsets = options.indices("offsets");
  check_offsets(function, "offsets", packed->offsets, packed->ids.size());
  for (int32_t id : packed->ids)
    HF_CHECK(id >= 0 && id < model.spec().vocab_size, ErrorCode::kInvalidArg,
             "%s: token id %d lies outside the vocabulary of %lld", function, id,
             static_cast<long long>(model.spec().vocab_size));
  for (size_t s = 1; s < packed->offsets.size(); ++s)
    HF_CHECK(packed->offsets[s] - packed->offsets[s - 1] <= model.spec().max_positions,
             ErrorCode::kInvalidArg, "%s: sequence %zu is longer than the model's context of %lld", function,
             s - 1, static_cast<long long>(model.spec().max_positions));
  if (!scored) return packed;
  packed->rows = options.indices("rows"), packed->targets = options.indices("targets"),
  packed->row_offsets = options.indices("rowOffsets");
  check_offsets(function, "rowOffsets", packed->row_offsets, packed->rows.size());
  HF_CHECK(
      packed->targets.size() == packed->rows.size() && packed->row_offsets.size() == packed->offsets.size(),
      ErrorCode::kShape, "%s: rows and targets must have equal lengths, offsets and rowOffsets too",
      function);
  for (size_t s = 0; s + 1 < packed->offsets.size(); ++s)
    for (int32_t i = packed->row_offsets[s]; i < packed->row_offsets[s + 1]; ++i)
      HF_CHECK(packed->rows[i] >= packed->offsets[s] && packed->rows[i] < packed->offsets[s + 1] &&
                   packed->targets[i] >= 0 && packed->targets[i] < model.spec().vocab_size,
               ErrorCode::kInvalidArg, "%s: row %d or target %d of scored position %d is out of range",
               function, packed->rows[i], packed->targets[i], i);
  return packed;
}

}  // namespace

std::shared_ptr<Packed> packed_sequences(const char* function, Napi::Value value, const Model& model) {
  return read(function, value, model, false);
}
std::shared_ptr<Packed> packed_samples(const char* function, Napi::Value value, const Model& model) {
  return read(function, value, model, true);
}

}  // namespace hf::binding
