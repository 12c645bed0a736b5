// The functions that kernels are written in, on real hardware (sm_80 and later): whatever needs inline PTX or
// touches shared memory has a name here. test/emulation/hardware.h has the same list for the host.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#define HF_DEVICE __device__ __forceinline__
#define HF_KERNEL static __global__ void

namespace hf::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// A piece of the block's shared memory: a pointer, in effect. Kernels reach shared memory through it alone,
// so that the emulation, whose Shared checks every access, sees them all.
template <class T>
class Shared {
 public:
  HF_DEVICE Shared() : data_(nullptr) {}
  HF_DEVICE explicit Shared(T* data) : data_(data) {}
  HF_DEVICE T& operator[](int i) const { return data_[i]; }
  HF_DEVICE Shared operator+(int i) const { return Shared(data_ + i); }
  HF_DEVICE unsigned address() const { return static_cast<unsigned>(__cvta_generic_to_shared(data_)); }

 private:
  T* data_;
};

// The same memory as numbers of another type.
template <class To, class From>
HF_DEVICE Shared<To> cast(Shared<From> piece) {
  return Shared<To>(reinterpret_cast<To*>(&piece[0]));
}

// Words i … i + 3, i a multiple of 4: one access of 16 bytes.
struct Words4 {
  uint32_t v[4];
};
HF_DEVICE Words4 load_words4(Shared<uint32_t> piece, int i) {
  const uint4 q = *reinterpret_cast<const uint4*>(&piece[i]);
  return {{q.x, q.y, q.z, q.w}};
}

// Hands out the block's dynamic shared memory piece by piece, 16-byte aligned; every thread takes the same
// pieces in the same order.
class SharedMemory {
 public:
  HF_DEVICE SharedMemory() {
    extern __shared__ __align__(16) char hf_shared_memory[];
    next_ = hf_shared_memory;
  }
  template <class T>
  HF_DEVICE Shared<T> take(int count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += (count * static_cast<int>(sizeof(T)) + 15) / 16 * 16;
    return Shared<T>(piece);
  }

 private:
  char* next_;
};

// Asynchronous copies of 4 or 16 bytes from global to shared memory. What is not `valid` becomes zero and is
// not read. The numbers are there for the thread after cp_async_wait, and for others after a barrier as well.
// Copies since the last cp_async_commit are a group.
HF_DEVICE void cp_async_4(Shared<uint32_t> to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to.address()), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}
HF_DEVICE void cp_async_16(Shared<uint32_t> to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to.address()), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
HF_DEVICE void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most `kPending` of the thread's latest groups are under way.
template <int kPending>
HF_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Round to nearest: a float32 to the bits of tf32, and two float32 to one word of bfloat16, `low` in its low
// half.
HF_DEVICE uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
HF_DEVICE uint32_t to_bf16x2(float low, float high) {
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

// Two float32 to one word of float16, rounded to nearest, `low` in its low half; and back.
HF_DEVICE uint32_t to_f16x2(float low, float high) {
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
HF_DEVICE float2 from_f16x2(uint32_t bits) {
  float2 out;
  asm("{\n.reg .f16 low, high;\nmov.b32 {low, high}, %2;\ncvt.f32.f16 %0, low;\ncvt.f32.f16 %1, high;\n}"
      : "=f"(out.x), "=f"(out.y)
      : "r"(bits));
  return out;
}

// 8 or 16 bytes in one store. (nvcc takes a plain assignment apart at times.)
HF_DEVICE void store_whole(void* to, uint2 x) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(x.x), "r"(x.y) : "memory");
}
HF_DEVICE void store_whole(void* to, uint4 x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}
HF_DEVICE void store_whole(void* to, float4 x) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
               : "memory");
}

// 2 to the x within two units in the last place; results below the normal numbers are 0.
HF_DEVICE float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / x within one unit in the last place; results below the normal numbers are 0.
HF_DEVICE float reciprocal_approximate(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A warp reads four matrices of 8 rows of 16 bytes (8 bfloat16). Lane l names row l % 8 of matrix l / 8,
// which starts at a multiple of 16 bytes. Lane 4 g + t gets word t of row g of each matrix; transposed, it
// gets the numbers g of rows 2t and 2t + 1. In this way a tile with the summed index along its rows, or
// (transposed) down its columns, becomes b fragments of mma_bf16.
HF_DEVICE void ldmatrix_x4(uint32_t (&out)[2][2], Shared<uint32_t> row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0][0]), "=r"(out[0][1]), "=r"(out[1][0]), "=r"(out[1][1])
               : "r"(row.address())
               : "memory");
}
HF_DEVICE void ldmatrix_x4_trans(uint32_t (&out)[2][2], Shared<uint32_t> row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0][0]), "=r"(out[0][1]), "=r"(out[1][0]), "=r"(out[1][1])
               : "r"(row.address())
               : "memory");
}

// The tensor cores' product: c (16 × 8, float32) += a (16 × 8 or 16) b (that × 8), by one warp. What lane
// 4 g + t holds of each, in words of 4 bytes (one tf32, or two bfloat16):
//   a  (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4)
//   b  (t, g) (t + 4, g)
//   c  (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1)
HF_DEVICE void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
HF_DEVICE void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Lets the kernel have that much shared memory on the current device. The driver is asked once for each
// kernel and device, and again only for more.
inline cudaError_t allow_shared(const void* kernel, int bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, int> allowed;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  std::lock_guard<std::mutex> lock(mutex);
  int& most = allowed[{device, kernel}];
  if (bytes <= most) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error == cudaSuccess) most = bytes;
  return error;
}

// Starts a kernel; its own errors come later, from the device.
template <class... P>
cudaError_t start_kernel(void (*kernel)(P...), dim3 grid, dim3 block, int shared_bytes, cudaStream_t stream,
                         P... parameters) {
  if (shared_bytes > 48 * 1024) {
    if (const cudaError_t error = allow_shared(reinterpret_cast<const void*>(kernel), shared_bytes);
        error != cudaSuccess)
      return error;
  }
  void* pointers[] = {static_cast<void*>(&parameters)..., nullptr};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers,
                          static_cast<size_t>(shared_bytes), stream);
}

// A function of a library that starts work on the device.
template <class F>
auto library_call(const F& call) {
  return call();
}
// Files of cuBLASLt, the preferred one first.
constexpr const char* kBlasLibraries[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

}  // namespace hf::cuda
