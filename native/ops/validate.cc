#include "ops/validate.h"

#include <cstdlib>
#include <cstring>

namespace hf {
namespace {

// The next word of "N C" at *p, or length 0 at the end.
int next_word(const char** p) {
  while (**p == ' ')
    ++*p;
  int length = 0;
  while ((*p)[length] && (*p)[length] != ' ')
    ++length;
  return length;
}

// A dimension as a field list writes it: "S+1" is the name "S" and the offset 1.
struct Dimension {
  const char* name;
  int length;
  int64_t offset;
};
Dimension parse_dimension(const char* word, int length) {
  for (int i = 0; i < length; ++i)
    if (word[i] == '+') return {word, i, std::atoll(word + i + 1)};
  return {word, length, 0};
}

DType expected_dtype(unsigned flags, DType real) {
  if (flags & kIndices) return DType::kI32;
  if (flags & kBytes) return DType::kU8;
  if (flags & kDouble) return DType::kF64;
  return real;
}

}  // namespace

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "float32";
    case DType::kF64: return "float64";
    case DType::kI32: return "int32";
    case DType::kBF16: return "bfloat16";
    case DType::kF16: return "float16";
    case DType::kU8: return "uint8";
  }
  return "unknown";
}

int DimTable::rank_of(const char* dims) {
  int rank = 0;
  for (int length; (length = next_word(&dims)) != 0; dims += length)
    ++rank;
  return rank;
}

int64_t DimTable::size_of(const char* name, int length) const {
  if (name[0] >= '0' && name[0] <= '9') return std::atoll(name);
  if (const void* bar = std::memchr(name, '|', length)) {
    const int first = static_cast<int>(static_cast<const char*>(bar) - name);
    const int64_t size = size_of(name, first);
    return size >= 0 ? size : size_of(name + first + 1, length - first - 1);
  }
  const Dimension dimension = parse_dimension(name, length);
  const Entry* const entry = find(dimension.name, dimension.length);
  return entry ? entry->size + dimension.offset : -1;
}

const DimTable::Entry* DimTable::find(const char* name, int length) const {
  for (int i = 0; i < count_; ++i)
    if (entries_[i].length == length && std::memcmp(entries_[i].name, name, length) == 0) return &entries_[i];
  return nullptr;
}

void DimTable::bind(const char* field, const View& view, const char* dims) {
  const char* all = dims;
  int index = 0;
  for (int length; (length = next_word(&dims)) != 0; dims += length, ++index) {
    const int64_t known = size_of(dims, length);
    const int64_t actual = view.shape[index];
    const Dimension dimension = parse_dimension(dims, length);
    if (known < 0) {
      HF_CHECK(actual >= dimension.offset, ErrorCode::kShape,
               "%s: %s must have at least %lld entries, got %lld", op_, field, (long long)dimension.offset,
               (long long)actual);
      entries_[count_++] = {dims, dimension.length, actual - dimension.offset, field};
      continue;
    }
    if (known == actual) continue;
    const Entry* const other = find(dimension.name, dimension.length);
    fail(ErrorCode::kShape,
         "%s: %s has shape (%s) with %.*s = %lld, got %lld in dimension %d; %s must agree with %s", op_,
         field, all, length, dims, (long long)known, (long long)actual, index, field,
         other ? other->field : "the contract");
  }
}

void Validator::tensor(const char* name, const View& view, const char* dims, unsigned flags, FieldRole role) {
  if (!view.data && view.rank == 0) {
    HF_CHECK(flags & kOptional, ErrorCode::kInvalidArg, "%s: %s of shape (%s) is required, got nothing", op_,
             name, dims);
    return;
  }
  const DType dtype = expected_dtype(flags, real_);
  const bool is_allowed_bf16 = (flags & kBf16) && view.dtype == DType::kBF16;
  const bool is_allowed_stored = (flags & kStored) && view.dtype == stored_;
  HF_CHECK(view.dtype == dtype || is_allowed_bf16 || is_allowed_stored, ErrorCode::kDtype,
           "%s: %s must be %s, got %s", op_, name, dtype_name(dtype), dtype_name(view.dtype));
  const int rank = DimTable::rank_of(dims);
  HF_CHECK(view.rank == rank, ErrorCode::kShape, "%s: %s must have %d dimensions (%s), got %d", op_, name,
           rank, dims, view.rank);
  dims_.bind(name, view, dims);
  const bool is_contiguous = rank == 0 || view.shape[rank - 1] <= 1 || view.stride[rank - 1] == 1;
  HF_CHECK((flags & kStrided) || is_contiguous, ErrorCode::kShape,
           "%s: the last dimension of %s must be contiguous, got stride %lld", op_, name,
           (long long)view.stride[rank - 1]);
  if (!check_overlap_ || view.size() == 0) return;
  const char* begin = static_cast<const char*>(view.data);
  const char* end = begin;
  for (int i = 0; i < rank; ++i) {
    const int64_t extent = (view.shape[i] - 1) * view.stride[i] * dtype_bytes(view.dtype);
    (extent < 0 ? begin : end) += extent;
  }
  ranges_[range_count_++] = {name, begin, end + dtype_bytes(view.dtype), role};
}

void Validator::enumerator(const char* name, int value, const char* const* names, int count) const {
  HF_CHECK(value >= 0 && value < count, ErrorCode::kInvalidArg,
           "%s: %s must be one of %d choices (the first is '%s'), got %d", op_, name, count, names[0], value);
}

void Validator::finish() const {
  for (int i = 0; i < range_count_; ++i)
    for (int j = 0; j < range_count_; ++j) {
      if (i == j || ranges_[i].role == FieldRole::kIn) continue;
      const bool are_apart = ranges_[i].end <= ranges_[j].begin || ranges_[j].end <= ranges_[i].begin;
      HF_CHECK(are_apart, ErrorCode::kInvalidArg, "%s: output %s overlaps %s; give it memory of its own", op_,
               ranges_[i].name, ranges_[j].name);
    }
}

}  // namespace hf
