// Parameters from files and from random numbers.
#pragma once

#include <string>

#include "core/view.h"
#include "runtime/run.h"

namespace hf {

enum class FileDType { kF32, kBF16, kF16, kF64 };
inline constexpr const char* kFileDTypes[] = {"F32", "BF16", "F16", "F64"};

// Memory-maps `path` and converts the numbers at byte `offset` into `target` (contiguous). Returns how many
// of them are NaN or infinite. ERR_IO names the file and what is missing.
int64_t load_numbers(const std::string& path, int64_t offset, FileDType dtype, const View& target, Run& run);
// target[i] ~ Normal(mean, std), a pure function of (seed, stream, i).
void fill_normal(const View& target, double mean, double std, uint64_t seed, uint64_t stream, Run& run);

}  // namespace hf
