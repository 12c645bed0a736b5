// The checks of a list of functions that comes from outside.
#include "core/error.h"
#include "ntk/derivatives.h"

namespace hf {
namespace {

// Offsets rise from 0 to `end`, so that the ranges between them lie one after the other.
bool rises_to(const std::vector<int32_t>& offsets, size_t end) {
  if (offsets.empty() || offsets.front() != 0 || size_t(offsets.back()) != end) return false;
  for (size_t i = 1; i < offsets.size(); ++i)
    if (offsets[i] < offsets[i - 1]) return false;
  return true;
}

bool all_below(const std::vector<int32_t>& ids, int64_t vocabulary) {
  for (int32_t id : ids)
    if (id < 0 || id >= vocabulary) return false;
  return true;
}

bool sequences_fit(const Functions& f, int64_t max_positions) {
  for (size_t s = 1; s < f.offsets.size(); ++s)
    if (f.offsets[s] - f.offsets[s - 1] > max_positions) return false;
  return true;
}

// Functions belong to existing sequences, in their order.
bool sequences_ascend(const Functions& f) {
  const int64_t sequences = int64_t(f.offsets.size()) - 1;
  int32_t last = 0;
  for (int32_t s : f.sequence) {
    if (s < last || s >= sequences) return false;
    last = s;
  }
  return true;
}

// A function's terms are at rows of its own sequence, each after the one before.
bool rows_ascend(const Functions& f, int64_t function) {
  const int32_t s = f.sequence[function];
  int32_t least = f.offsets[s];
  for (int32_t t = f.term_offsets[function]; t < f.term_offsets[function + 1]; ++t) {
    if (f.rows[t] < least || f.rows[t] >= f.offsets[s + 1]) return false;
    least = f.rows[t] + 1;
  }
  return true;
}

bool consistent(const Functions& f, const ModelSpec& spec) {
  const bool lengths_agree =
      f.rows.size() == f.targets.size() && f.term_offsets.size() == f.sequence.size() + 1;
  if (!lengths_agree) return false;
  if (!rises_to(f.offsets, f.ids.size()) || !rises_to(f.term_offsets, f.rows.size())) return false;
  if (!all_below(f.ids, spec.vocab_size) || !all_below(f.targets, spec.vocab_size)) return false;
  if (!sequences_fit(f, spec.max_positions) || !sequences_ascend(f)) return false;
  for (int64_t function = 0; function < f.count(); ++function)
    if (!rows_ascend(f, function)) return false;
  return true;
}

}  // namespace

void check_functions(const char* caller, const Functions& functions, const Model& model) {
  HF_CHECK(consistent(functions, model.spec()), ErrorCode::kInvalidArg,
           "%s: the list of functions is not consistent", caller);
}

}  // namespace hf
