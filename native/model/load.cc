#include "model/load.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "runtime/mapped_file.h"

namespace hf {
namespace {

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

float from_f16(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) return std::copysign(std::ldexp(float(mantissa), -24), sign ? -1.0f : 1.0f);
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

template <class T>
T read(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);  // safetensors promises no alignment
  return value;
}

int64_t bytes_of(FileDType dtype) {
  switch (dtype) {
    case FileDType::kF64: return 8;
    case FileDType::kF32: return 4;
    case FileDType::kBF16:
    case FileDType::kF16: return 2;
  }
  return 0;
}

template <class Out>
void convert(const char* data, FileDType dtype, Out* out, int64_t count) {
  switch (dtype) {
    case FileDType::kF32:
      for (int64_t i = 0; i < count; ++i)
        out[i] = Out(read<float>(data + 4 * i));
      return;
    case FileDType::kF64:
      for (int64_t i = 0; i < count; ++i)
        out[i] = Out(read<double>(data + 8 * i));
      return;
    case FileDType::kBF16:
      for (int64_t i = 0; i < count; ++i)
        out[i] = Out(from_bf16(read<uint16_t>(data + 2 * i)));
      return;
    case FileDType::kF16:
      for (int64_t i = 0; i < count; ++i)
        out[i] = Out(from_f16(read<uint16_t>(data + 2 * i)));
      return;
  }
}

constexpr int64_t kChunk = 1 << 18;  // numbers that a task converts: they stay in the cache meanwhile
// Whether any number has an exponent of ones, as NaN and infinity have and nothing else: one more in the
// exponent carries into the sign then. 64 bytes at a time, or it would take longer than the conversion.
template <class Word, int kMantissaBits>
bool has_full_exponent(const char* data, int64_t count) {
  typedef Word Words __attribute__((vector_size(64)));
  constexpr int64_t kWords = 64 / sizeof(Word);
  constexpr Word kSign = Word(Word{1} << (8 * sizeof(Word) - 1));
  constexpr Word kMagnitude = Word(kSign - 1);
  constexpr Word kOne = Word(Word{1} << kMantissaBits);
  Words carried = {};
  int64_t i = 0;
  for (; i + kWords <= count; i += kWords) {
    Words words;
    std::memcpy(&words, data + i * int64_t{sizeof(Word)}, sizeof words);
    carried |= (words & kMagnitude) + kOne;
  }
  Word any = 0;
  for (int64_t lane = 0; lane < kWords; ++lane)
    any |= carried[lane];
  for (; i < count; ++i)
    any |= Word((read<Word>(data + i * int64_t{sizeof(Word)}) & kMagnitude) + kOne);
  return (any & kSign) != 0;
}

// Whether a number may not be finite as Out. A double may be too large for float32, so of doubles this is not
// known before they are converted.
bool may_be_non_finite(const char* data, FileDType dtype, int64_t count) {
  switch (dtype) {
    case FileDType::kF32: return has_full_exponent<uint32_t, 23>(data, count);
    case FileDType::kBF16: return has_full_exponent<uint16_t, 7>(data, count);
    case FileDType::kF16: return has_full_exponent<uint16_t, 10>(data, count);
    case FileDType::kF64: return true;
  }
  return true;
}

// Converts `count` numbers and counts those that are not finite. They are looked at before they are
// converted, so that the conversion can write past the cache.
template <class Out>
int64_t convert_and_count(const char* data, FileDType dtype, Out* out, int64_t count) {
  const bool looks_finite = !may_be_non_finite(data, dtype, count);
  convert(data, dtype, out, count);
  if (looks_finite) return 0;
  return std::count_if(out, out + count, [](Out x) { return !std::isfinite(x); });
}

// `out`, or host memory that finish() copies to it when it is a device's.
class HostSide {
 public:
  HostSide(const View& out, Run& run)
      : out_(out),
        run_(run),
        scratch_(run),
        host_(run.device ? host_tensor(run, out.dtype, out.size()) : out) {}
  const View& view() const { return host_; }
  void finish() const {
    if (run_.device) copy_numbers(run_, out_, host_);
  }

 private:
  const View out_;
  Run& run_;
  const Scratch scratch_;
  const View host_;
};

void store(const View& out, int64_t i, double value) {
  if (out.dtype == DType::kF64)
    out.as<double>()[i] = value;
  else
    out.as<float>()[i] = static_cast<float>(value);
}

}  // namespace

int64_t load_numbers(const std::string& path, int64_t offset, FileDType dtype, const View& target, Run& run) {
  const HostSide side(target, run);
  const View& out = side.view();
  const MappedFile file(path);
  const int64_t width = bytes_of(dtype), count = out.size();
  HF_CHECK(offset >= 0 && offset <= file.size() && count * width <= file.size() - offset, ErrorCode::kIo,
           "'%s' is truncated: %lld bytes at %lld needed, the file has %lld; copy it again", path.c_str(),
           static_cast<long long>(count * width), static_cast<long long>(offset),
           static_cast<long long>(file.size()));
  const char* data = file.data() + offset;
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  std::vector<int64_t> non_finite(static_cast<size_t>(chunks), 0);
  parallel_for(run, chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk, size = std::min(kChunk, count - begin);
    int64_t& found = non_finite[static_cast<size_t>(chunk)];
    if (out.dtype == DType::kF64)
      found = convert_and_count(data + begin * width, dtype, out.as<double>() + begin, size);
    else
      found = convert_and_count(data + begin * width, dtype, out.as<float>() + begin, size);
  });
  side.finish();
  return std::accumulate(non_finite.begin(), non_finite.end(), int64_t{0});
}

void fill_normal(const View& target, double mean, double std, uint64_t seed, uint64_t stream, Run& run) {
  const HostSide side(target, run);
  const View& out = side.view();
  constexpr double kTwoPi = 6.283185307179586;
  const int64_t count = out.size();
  static_assert(kChunk % 2 == 0);
  parallel_for(run, (count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t end = std::min((chunk + 1) * kChunk, count);
    for (int64_t i = chunk * kChunk; i < end; i += 2) {  // Box–Muller: two uniforms, two normals
      const double radius = std * std::sqrt(-2 * std::log(philox_uniform(seed, stream, uint64_t(i))));
      const double angle = kTwoPi * philox_uniform(seed, stream, uint64_t(i) + 1);
      store(out, i, mean + radius * std::cos(angle));
      if (i + 1 < count) store(out, i + 1, mean + radius * std::sin(angle));
    }
  });
  side.finish();
}

}  // namespace hf
