// Compiler vocabulary shared by every native file.
#pragma once

// Always inlined: files compiled once per instruction set may only use such functions from headers, otherwise
// the linker could keep an AVX-512 copy of a shared inline function and run it on a machine without AVX-512
// (docs/architecture.md).
#ifdef __CUDACC__
#define HF_INLINE __host__ __device__ __forceinline__
#else
#define HF_INLINE __attribute__((always_inline)) inline
#endif
#define HF_HOST_INLINE __attribute__((always_inline)) inline  // for what no kernel calls
#define HF_NOINLINE __attribute__((noinline))
#define HF_RESTRICT __restrict__
