// Kernels with planted mistakes, each beside its correct form. `planted <name>` runs one on the emulated
// machine and prints 'ok', or what the emulation (or the comparison with plain loops) found.
// test/cuda/emulation.test.ts expects every mistake to be found, whatever the order of threads. The list of
// names is at the end.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "backends/cuda/tile.h"
#include "core/error.h"

namespace hf::cuda {
namespace {

constexpr int kRows = 16, kColumns = 8;

// What a kernel does wrong.
enum class Mistake {
  kNone,
  kNoBarrier,      // reads what other warps loaded without a barrier of the block
  kNoWarpBarrier,  // reads what other lanes wrote without a barrier of the warp
  kNoWait,         // reads what an asynchronous copy brings without waiting for it
  kOutOfBounds,    // reads past the end of a piece of shared memory
  kUnwritten,      // reads a word that nothing wrote
  kDivergent,      // only one of two warps comes to a barrier of the block
  kSplitWarp,      // only half a warp comes to an mma
  kLane,           // lanes read the fragments (or name the rows) of others
  kUnrounded,      // an operand of the tf32 product is not rounded
};

// c (16, 8) = a (16, 32) b (8, 32)ᵀ through shared memory, one warp, in tf32; a second warp loads b.
HF_KERNEL product_kernel(Operand a, Operand b, float* c, Mistake mistake) {
  SharedMemory memory;
  const Shared<uint32_t> tile_a = memory.take<uint32_t>(kRows * kTileStep);
  const Shared<uint32_t> tile_b = memory.take<uint32_t>(kColumns * kTileStep);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  if (warp == 0)
    for (int i = lane; i < kRows * kTileWords; i += kWarp)
      cp_async_4(tile_a + (i / kTileWords * kTileStep + i % kTileWords),
                 static_cast<const float*>(a.data) + i, true);
  if (warp == 1)
    for (int i = lane; i < kColumns * kTileWords; i += kWarp)
      cp_async_4(tile_b + (i / kTileWords * kTileStep + i % kTileWords),
                 static_cast<const float*>(b.data) + i, true);
  cp_async_commit();
  if (mistake != Mistake::kNoWait) cp_async_wait<0>();
  if (mistake == Mistake::kDivergent) {
    if (warp == 0) __syncthreads();
  } else if (mistake != Mistake::kNoBarrier) {
    __syncthreads();
  }
  if (warp != 0) return;
  float acc[4] = {0, 0, 0, 0};
  for (int w = 0; w < kTileWords; w += 8) {
    const int lane_g = mistake == Mistake::kLane ? t : g, lane_t = mistake == Mistake::kLane ? g % 4 : t;
    const auto word = [&](Shared<uint32_t> tile, int row, int column) {
      const uint32_t bits = tile[row * kTileStep + column];
      return mistake == Mistake::kUnrounded ? bits : to_tf32(__uint_as_float(bits));
    };
    const uint32_t x[4] = {word(tile_a, lane_g, w + lane_t), word(tile_a, lane_g + 8, w + lane_t),
                           word(tile_a, lane_g, w + lane_t + 4), word(tile_a, lane_g + 8, w + lane_t + 4)};
    const int past = mistake == Mistake::kOutOfBounds && w == 24 ? 4 * kTileStep : 0;
    const uint32_t y[2] = {word(tile_b, g, w + t), word(tile_b, g, past + w + t + 4)};
    if (mistake != Mistake::kSplitWarp || lane < 16) mma_tf32(acc, x, y);
  }
  for (int r = 0; r < 4; ++r)
    c[(g + 8 * (r / 2)) * kColumns + 2 * t + r % 2] = acc[r];
}

// Lanes hand numbers to each other through shared memory; each warp on its own.
HF_KERNEL exchange_kernel(float* out, Mistake mistake) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(2 * kWarp);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (mistake != Mistake::kUnwritten || lane != 7) room[warp * kWarp + lane] = float(threadIdx.x);
  if (mistake != Mistake::kNoWarpBarrier) __syncwarp();
  out[threadIdx.x] = room[warp * kWarp + kWarp - 1 - lane];
}

// A warp writes 16 × 16 numbers of 16 bits, 0 … 255, and takes them as fragments, as they lie and transposed.
HF_KERNEL matrices_kernel(uint32_t* out, Mistake mistake) {
  constexpr int kStep = 12;  // words from row to row
  SharedMemory memory;
  const Shared<uint32_t> tile = memory.take<uint32_t>(16 * kStep);
  const int lane = threadIdx.x;
  for (int i = lane; i < 16 * 8; i += kWarp)
    tile[i / 8 * kStep + i % 8] = uint32_t(2 * i | (2 * i + 1) << 16);
  if (mistake != Mistake::kNoWarpBarrier) __syncwarp();
  // Matrices: rows 0 … 7 words 0 … 3, rows 8 … 15 the same, then words 4 … 7 of both.
  const Shared<uint32_t> row =
      tile + (lane % 16 * kStep + lane / 16 * 4 + (mistake == Mistake::kLane ? 1 : 0));
  uint32_t plain[2][2], turned[2][2];
  ldmatrix_x4(plain, row);
  ldmatrix_x4_trans(turned, row);
  for (int m = 0; m < 4; ++m) {
    out[m * kWarp + lane] = plain[m / 2][m % 2];
    out[(4 + m) * kWarp + lane] = turned[m / 2][m % 2];
  }
}

std::string run_matrices(Mistake mistake) {
  std::vector<uint32_t> words(8 * kWarp);
  Stream stream(0);
  void* out = stream.allocate(int64_t(words.size()) * 4);
  launch("matrices", matrices_kernel, dim3(1), kWarp, 16 * 12 * 4, stream, static_cast<uint32_t*>(out),
         mistake);
  stream.copy(words.data(), out, int64_t(words.size()) * 4);
  const auto number = [](int m, int row, int column) {
    return uint32_t((row + m % 2 * 8) * 16 + column + m / 2 * 8);
  };
  for (int m = 0; m < 4; ++m)
    for (int lane = 0; lane < kWarp; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const int plain = m * kWarp + lane;
      const int transposed = (4 + m) * kWarp + lane;
      if (words[size_t(plain)] != (number(m, g, 2 * t) | number(m, g, 2 * t + 1) << 16))
        return "wrong result";
      if (words[size_t(transposed)] != (number(m, 2 * t, g) | number(m, 2 * t + 1, g) << 16))
        return "wrong transposed result";
    }
  return "ok";
}

std::string run_product(Mistake mistake) {
  std::vector<float> a(kRows * kTileWords), b(kColumns * kTileWords), c(kRows * kColumns);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = mistake == Mistake::kUnrounded ? std::sin(float(i)) : float(int(i * 37 % 17) - 8);
  for (size_t i = 0; i < b.size(); ++i)
    b[i] = float(int(i * 29 % 13) - 6);
  Stream stream(0);
  const auto upload = [&](std::vector<float>& x) {
    void* copy = stream.allocate(int64_t(x.size()) * 4);
    stream.copy(copy, x.data(), int64_t(x.size()) * 4);
    return copy;
  };
  Operand left, right;
  left.data = upload(a);
  right.data = upload(b);
  void* out = upload(c);
  launch("product", product_kernel, dim3(1), 2 * kWarp, (kRows + kColumns) * kTileStep * 4, stream, left,
         right, static_cast<float*>(out), mistake);
  stream.copy(c.data(), out, int64_t(c.size()) * 4);
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kColumns; ++n) {
      float sum = 0;
      for (int k = 0; k < kTileWords; ++k)
        sum += a[m * kTileWords + k] * b[n * kTileWords + k];
      if (c[m * kColumns + n] != sum) return "wrong result";
    }
  return "ok";
}

std::string run_exchange(Mistake mistake) {
  std::vector<float> numbers(2 * kWarp);
  Stream stream(0);
  void* out = stream.allocate(int64_t(numbers.size()) * 4);
  launch("exchange", exchange_kernel, dim3(1), 2 * kWarp, 2 * kWarp * 4, stream, static_cast<float*>(out),
         mistake);
  stream.copy(numbers.data(), out, int64_t(numbers.size()) * 4);
  for (int i = 0; i < 2 * kWarp; ++i) {
    const int reversed = i / kWarp * kWarp + kWarp - 1 - i % kWarp;
    if (numbers[i] != float(reversed)) return "wrong result";
  }
  return "ok";
}

HF_KERNEL beyond_kernel(float* data, int index) {
  data[index] = 1;
}

std::string run_memory(bool on_host) {
  Stream stream(0);
  float* data = static_cast<float*>(stream.allocate(1024));
  if (on_host)
    data[0] = 1;
  else
    launch("beyond", beyond_kernel, dim3(1), kWarp, 0, stream, data, 256);
  return "ok";
}

// More than the ring of page-locked memory holds, with no other work between that would make the device take
// its copies.
std::string run_uploads() {
  constexpr int kCopies = 200, kNumbers = 12345;
  Stream stream(0);
  float* data = static_cast<float*>(stream.allocate(int64_t{kCopies} * kNumbers * 4));
  std::vector<float> numbers(kNumbers), back(size_t{kCopies} * kNumbers);
  for (int i = 0; i < kCopies; ++i) {
    std::fill(numbers.begin(), numbers.end(), float(i));
    stream.copy(data + int64_t{i} * kNumbers, numbers.data(), kNumbers * 4);
  }
  stream.copy(back.data(), data, int64_t(back.size()) * 4);
  for (size_t i = 0; i < back.size(); ++i)
    if (const size_t block = i / kNumbers; back[i] != float(block)) return "wrong result";
  return "ok";
}

// The list: what is planted, in words, and how it is run. The first four are the correct forms.
struct Planted {
  const char* name;
  std::string (*run)();
};
constexpr Planted kPlanted[] = {
    {"product", [] { return run_product(Mistake::kNone); }},
    {"exchange", [] { return run_exchange(Mistake::kNone); }},
    {"matrices", [] { return run_matrices(Mistake::kNone); }},
    {"uploads", [] { return run_uploads(); }},

    {"a read of what another warp loads, without a barrier of the block",
     [] { return run_product(Mistake::kNoBarrier); }},
    {"a read of what another lane writes, without a barrier of the warp",
     [] { return run_exchange(Mistake::kNoWarpBarrier); }},
    {"fragments of what other lanes write, without a barrier of the warp",
     [] { return run_matrices(Mistake::kNoWarpBarrier); }},
    {"a read of an asynchronous copy that was not waited for", [] { return run_product(Mistake::kNoWait); }},
    {"a read of a word that nothing wrote", [] { return run_exchange(Mistake::kUnwritten); }},
    {"an index past the end of a piece of shared memory", [] { return run_product(Mistake::kOutOfBounds); }},
    {"a matrix row that is not at a multiple of 16 bytes", [] { return run_matrices(Mistake::kLane); }},
    {"a barrier that only one of two warps reaches", [] { return run_product(Mistake::kDivergent); }},
    {"an mma that only half a warp reaches", [] { return run_product(Mistake::kSplitWarp); }},
    {"fragments that belong to other lanes", [] { return run_product(Mistake::kLane); }},
    {"an operand of the tf32 product that is not rounded", [] { return run_product(Mistake::kUnrounded); }},
    {"host code that writes to device memory", [] { return run_memory(true); }},
    {"an index past the end of device memory", [] { return run_memory(false); }},
};

std::string run(const std::string& name) {
  for (const Planted& planted : kPlanted)
    if (name == planted.name) return planted.run();
  return "there is no such case";
}

}  // namespace
}  // namespace hf::cuda

int main(int count, char** arguments) {
  try {
    std::puts(hf::cuda::run(count > 1 ? arguments[1] : "").c_str());
  } catch (const hf::Error& error) {
    std::puts(error.what());
  }
}
