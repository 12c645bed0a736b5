// The names that kernels are written in, on the emulated machine (machine.h): those of CUDA C++ itself, and
// those of native/backends/cuda/hardware.h, where they are described.
#pragma once

#include <math.h>
#include <stdint.h>

#include <bit>
#include <cstring>
#include <tuple>

#include "emulation/machine.h"
#include "emulation/runtime.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define HF_DEVICE inline
#define HF_KERNEL [[maybe_unused]] static void

#define threadIdx (::hf::emulation::position().thread_index)
#define blockIdx (::hf::emulation::position().block_index)
#define blockDim (::hf::emulation::position().block_size)
#define gridDim (::hf::emulation::position().grid_size)

using dim3 = ::hf::emulation::Dim3;

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

inline void __syncthreads() {
  ::hf::emulation::barrier(0);
}
inline int __syncthreads_or(int value) {
  return ::hf::emulation::barrier(value != 0) != 0;
}
inline int __syncthreads_count(int value) {
  return ::hf::emulation::barrier(value != 0);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  ::hf::emulation::warp_barrier(mask);
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
inline float __uint_as_float(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline uint32_t __float_as_uint(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline int __ffs(int bits) {
  return bits ? std::countr_zero(static_cast<unsigned>(bits)) + 1 : 0;
}
inline int __clz(int bits) {
  return std::countl_zero(static_cast<unsigned>(bits));
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __int_as_float(int bits) {
  return std::bit_cast<float>(bits);
}
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
inline int min(int a, int b) {
  return a < b ? a : b;
}
inline int max(int a, int b) {
  return a > b ? a : b;
}
inline long long min(long long a, long long b) {
  return a < b ? a : b;
}
inline long long max(long long a, long long b) {
  return a > b ? a : b;
}

namespace hf::emulation {

// Every lane gets the value of the lane `source` that it names; of its own where that one is not in the mask.
template <class T>
struct ShuffleIn {
  T value;
  int source;
};
template <class T>
T shuffle(const char* name, unsigned mask, T value, int source) {
  const ShuffleIn<T> in{value, source};
  T out;
  meet(name, mask, &in, &out, [](const void* const* in, void* const* out, unsigned mask) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!(mask >> lane & 1)) continue;
      const int source = static_cast<const ShuffleIn<T>*>(in[lane])->source;
      const bool inside = source >= 0 && source < kLanes && (mask >> source & 1);
      *static_cast<T*>(out[lane]) = static_cast<const ShuffleIn<T>*>(in[inside ? source : lane])->value;
    }
  });
  return out;
}
int lane_index();

}  // namespace hf::emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return ::hf::emulation::shuffle("__shfl_sync", mask, value, source % 32);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flip) {
  return ::hf::emulation::shuffle("__shfl_xor_sync", mask, value, ::hf::emulation::lane_index() ^ flip);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int by) {
  return ::hf::emulation::shuffle("__shfl_down_sync", mask, value, ::hf::emulation::lane_index() + by);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int by) {
  return ::hf::emulation::shuffle("__shfl_up_sync", mask, value, ::hf::emulation::lane_index() - by);
}
unsigned __ballot_sync(unsigned mask, int predicate);
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}

// Threads take turns, so reading and writing back is one step.
template <class T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}

namespace hf::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Every access goes through the machine, which checks it.
template <class T>
class Shared {
 public:
  class Reference {
   public:
    Reference(const Shared& piece, int64_t i)
        : piece_(piece), offset_(piece.offset_ + i * static_cast<int64_t>(sizeof(T))) {}
    operator T() const {
      emulation::access_shared(emulation::Access::kRead, offset_, sizeof(T), piece_.begin_, piece_.bytes_);
      T value;
      std::memcpy(&value, emulation::shared_memory() + offset_, sizeof value);
      return value;
    }
    const Reference& operator=(T value) const {
      emulation::access_shared(emulation::Access::kWrite, offset_, sizeof(T), piece_.begin_, piece_.bytes_);
      std::memcpy(emulation::shared_memory() + offset_, &value, sizeof value);
      return *this;
    }
    const Reference& operator=(const Reference& other) const { return *this = static_cast<T>(other); }
    const Reference& operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
    const Reference& operator*=(T value) const { return *this = static_cast<T>(*this) * value; }

   private:
    const Shared& piece_;
    int64_t offset_;
  };

  Shared() = default;
  Shared(int begin, int bytes) : begin_(begin), bytes_(bytes), offset_(begin) {}
  Reference operator[](int i) const { return Reference(*this, i); }
  Shared operator+(int i) const {
    Shared moved = *this;
    moved.offset_ += i * static_cast<int64_t>(sizeof(T));
    return moved;
  }
  template <class To>
  Shared<To> as() const {
    Shared<To> other(begin_, bytes_);
    other.set_offset(offset_);
    return other;
  }
  void set_offset(int64_t offset) { offset_ = offset; }
  int64_t byte_offset(int i) const { return offset_ + i * static_cast<int64_t>(sizeof(T)); }
  void copy_async(const void* from, int bytes, bool valid) const {
    emulation::copy_async(offset_, bytes, begin_, bytes_, from, valid);
  }

 private:
  int begin_ = 0, bytes_ = 0;
  int64_t offset_ = 0;
};

template <class To, class From>
Shared<To> cast(Shared<From> piece) {
  return piece.template as<To>();
}

struct Words4 {
  uint32_t v[4];
};
inline Words4 load_words4(Shared<uint32_t> piece, int i) {
  if (piece.byte_offset(i) % 16 != 0)
    emulation::stop("load_words4 at shared byte %lld, which is not a multiple of 16",
                    static_cast<long long>(piece.byte_offset(i)));
  return {{piece[i], piece[i + 1], piece[i + 2], piece[i + 3]}};
}

class SharedMemory {
 public:
  template <class T>
  Shared<T> take(int count) {
    const int bytes = count * static_cast<int>(sizeof(T));
    return Shared<T>(emulation::take_shared(bytes), bytes);
  }
};

inline void cp_async_4(Shared<uint32_t> to, const void* from, bool valid) {
  to.copy_async(from, 4, valid);
}
inline void cp_async_16(Shared<uint32_t> to, const void* from, bool valid) {
  to.copy_async(from, 16, valid);
}
inline void cp_async_commit() {
  emulation::commit_async();
}
template <int kPending>
void cp_async_wait() {
  emulation::wait_async(kPending);
}

uint32_t to_tf32(float x);
uint32_t to_bf16x2(float low, float high);
uint32_t to_f16x2(float low, float high);
float2 from_f16x2(uint32_t bits);

template <class T>
void store_whole(void* to, const T& x) {
  *static_cast<T*>(to) = x;
}
inline float exp2_approximate(float x) {
  return exp2f(x);
}
inline float reciprocal_approximate(float x) {
  return 1.0f / x;
}

void ldmatrix_x4(uint32_t (&out)[2][2], Shared<uint32_t> row);
void ldmatrix_x4_trans(uint32_t (&out)[2][2], Shared<uint32_t> row);
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <class... P>
cudaError_t start_kernel(void (*kernel)(P...), dim3 grid, dim3 block, int shared_bytes, cudaStream_t,
                         P... parameters) {
  if (const cudaError_t error = emulation::next_launch(); error != cudaSuccess) return error;
  const emulation::DeviceWork work;
  emulation::run_grid(grid, block, shared_bytes, [&] { kernel(parameters...); });
  return cudaSuccess;
}

template <class F>
auto library_call(const F& call) {
  const emulation::DeviceWork work;
  return call();
}
constexpr const char* kBlasLibraries[] = {"libemulated_cublasLt.so"};

}  // namespace hf::cuda
