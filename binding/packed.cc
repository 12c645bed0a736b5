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

void check_ids(const char* function, const Packed& packed, const ModelSpec& spec) {
  for (int32_t id : packed.ids)
    HF_CHECK(id >= 0 && id < spec.vocab_size, ErrorCode::kInvalidArg,
             "%s: token id %d lies outside the vocabulary of %lld", function, id,
             static_cast<long long>(spec.vocab_size));
}

void check_lengths(const char* function, const Packed& packed, const ModelSpec& spec) {
  for (size_t s = 1; s < packed.offsets.size(); ++s)
    HF_CHECK(packed.offsets[s] - packed.offsets[s - 1] <= spec.max_positions, ErrorCode::kInvalidArg,
             "%s: sequence %zu is longer than the model's context of %lld", function, s - 1,
             static_cast<long long>(spec.max_positions));
}

// A scored row lies in its own sequence, its target in the vocabulary.
void check_rows(const char* function, const Packed& packed, const ModelSpec& spec) {
  for (size_t s = 0; s + 1 < packed.offsets.size(); ++s)
    for (int32_t i = packed.row_offsets[s]; i < packed.row_offsets[s + 1]; ++i) {
      const int32_t row = packed.rows[i];
      const int32_t target = packed.targets[i];
      const bool inside = row >= packed.offsets[s] && row < packed.offsets[s + 1];
      HF_CHECK(inside && target >= 0 && target < spec.vocab_size, ErrorCode::kInvalidArg,
               "%s: row %d or target %d of scored position %d is out of range", function, row, target, i);
    }
}

std::shared_ptr<Packed> read_sequences(const Options& options, const ModelSpec& spec) {
  const char* function = options.function();
  auto packed = std::make_shared<Packed>();
  packed->ids = options.indices("ids");
  packed->offsets = options.indices("offsets");
  check_offsets(function, "offsets", packed->offsets, packed->ids.size());
  check_ids(function, *packed, spec);
  check_lengths(function, *packed, spec);
  return packed;
}

}  // namespace

std::shared_ptr<Packed> packed_sequences(const char* function, Napi::Value value, const Model& model) {
  return read_sequences(Options(function, value), model.spec());
}

std::shared_ptr<Packed> packed_samples(const char* function, Napi::Value value, const Model& model) {
  const Options options(function, value);
  const std::shared_ptr<Packed> packed = read_sequences(options, model.spec());
  packed->rows = options.indices("rows");
  packed->targets = options.indices("targets");
  packed->row_offsets = options.indices("rowOffsets");
  check_offsets(function, "rowOffsets", packed->row_offsets, packed->rows.size());
  HF_CHECK(
      packed->targets.size() == packed->rows.size() && packed->row_offsets.size() == packed->offsets.size(),
      ErrorCode::kShape, "%s: rows and targets must have equal lengths, offsets and rowOffsets too",
      function);
  check_rows(function, *packed, model.spec());
  return packed;
}

std::shared_ptr<PackedPrefixes> packed_prefixes(const char* function, Napi::Value value, const Model& model) {
  const Options options(function, value);
  auto prefixes = std::make_shared<PackedPrefixes>();
  prefixes->packed = read_sequences(options, model.spec());
  prefixes->rows = options.indices("rows");
  for (int32_t row : prefixes->rows)
    HF_CHECK(row >= 0 && row < prefixes->packed->list().tokens(), ErrorCode::kInvalidArg,
             "%s: rows must lie in 0 … %lld", function,
             static_cast<long long>(prefixes->packed->list().tokens() - 1));
  return prefixes;
}

}  // namespace hf::binding
