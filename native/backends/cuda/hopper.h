// What only Hopper (sm_90a) has, as named functions. Kernels of wide.h are written in these; everything else
// runs from sm_80 on. For a newcomer, the four ideas:
//   wgmma      A matrix product that four warps (a *warpgroup*) start together. It reads its operands from
//              shared memory by itself and works on while the threads go on.
//   TMA        The copy engine. One thread asks for a box of a matrix; the engine brings it to shared memory.
//   mbarrier   A barrier in shared memory that counts both threads that arrived and bytes that came, so that
//              one can wait for a box.
//   cluster    Blocks that run at the same time on neighbouring multiprocessors, reach each other's shared
//              memory and can share a box.
#pragma once

#include <cuda.h>

#include "backends/cuda/platform.h"

namespace hf::cuda {

constexpr int kWarpgroup = 128;

// Describes a matrix (rows, depth) of bfloat16 to the copy engine, which brings it in boxes of `box_rows`
// rows by 64 numbers. It swizzles them by 128 bytes (permutes pieces of 16 bytes, so that wgmma meets no bank
// conflicts) and fills in zeros outside the matrix. `step` is the numbers between rows, a multiple of 8; the
// data lie at a multiple of 16 bytes.
CUtensorMap tensor_map(const void* data, int64_t rows, int64_t depth, int64_t step, int box_rows);

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HF_HOPPER_CODE 1
#endif

#ifdef HF_HOPPER_CODE

HF_DEVICE unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// ---- barriers ---------------------------------------------------------------------------------------------
// A phase of a barrier ends when `count` threads have arrived and the announced bytes have come. The scope is
// the block's, even where another block arrives: what passes between blocks are the copy engine's bytes, and
// the barrier itself counts those. The scope of a cluster makes every step of a product wait for a fence,
// which costs a quarter of the rate (630 instead of 825 TFLOP/s on an H200).

HF_DEVICE void mbarrier_init(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
               : "memory");
}
HF_DEVICE void mbarrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
HF_DEVICE void mbarrier_arrive_expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
// Arrives at the barrier at the same place in block `rank` of the cluster.
HF_DEVICE void mbarrier_arrive(uint64_t* barrier, unsigned rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
// Waits until the phase of that parity (0 for the first, then 1, 0, …) has ended.
HF_DEVICE void mbarrier_wait(uint64_t* barrier, int parity) {
  unsigned done = 0;
  while (!done)
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
}

// ---- the copy engine --------------------------------------------------------------------------------------

// Brings the box whose first number is (row, k) to shared memory; `barrier` counts its bytes.
HF_DEVICE void tma_load(void* to, const CUtensorMap* map, uint64_t* barrier, int k, int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(k), "r"(row)
      : "memory");
}
// The same to every block of the cluster in `mask`, at the same place there.
HF_DEVICE void tma_load_multicast(void* to, const CUtensorMap* map, uint64_t* barrier, int k, int row,
                                  uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(k), "r"(row), "h"(mask)
      : "memory");
}

// ---- clusters and warpgroups ------------------------------------------------------------------------------

// Which block of its cluster the calling one is.
HF_DEVICE unsigned cluster_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
HF_DEVICE void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// A barrier of the threads of one warpgroup; `id` 1 … 15.
HF_DEVICE void warpgroup_sync(int id) {
  asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory");
}

// A warpgroup asks for kCount registers a thread, or gives back what it has above that.
template <int kCount>
HF_DEVICE void registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
HF_DEVICE void registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// ---- products of a warpgroup ------------------------------------------------------------------------------

// Describes rows of 64 bfloat16 in shared memory, as the copy engine wrote them, to wgmma: 128 bytes a row,
// swizzled, groups of eight rows 1024 bytes apart.
HF_DEVICE uint64_t wgmma_operand(const void* tile) {
  return uint64_t((shared_address(tile) & 0x3ffff) >> 4) | uint64_t(1) << 16 | uint64_t(64) << 32 |
         uint64_t(1) << 62;
}
// wgmma_begin() before the first product of a group, wgmma_commit() after its last one, and
// wgmma_wait<kPending>() until at most kPending groups are under way.
HF_DEVICE void wgmma_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
HF_DEVICE void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
HF_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// c = a bᵀ over 16 numbers of the depth, plus c unless `fresh`. c is 64 × 256 of the warpgroup: warp w has
// rows 16w …, its lanes the entries that mma_bf16's c has.
HF_DEVICE void wgmma_bf16(float (&c)[32][4], uint64_t a, uint64_t b, bool fresh) {
#define HF_ROW(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define HF_ROWS(j)                                                                                     \
  HF_ROW(j), HF_ROW(j + 1), HF_ROW(j + 2), HF_ROW(j + 3), HF_ROW(j + 4), HF_ROW(j + 5), HF_ROW(j + 6), \
      HF_ROW(j + 7)
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, p, 1, 1, 0, 0;\n}"
      : HF_ROWS(0), HF_ROWS(8), HF_ROWS(16), HF_ROWS(24)
      : "l"(a), "l"(b), "r"(fresh ? 0 : 1));
#undef HF_ROWS
#undef HF_ROW
}
// The compiler may not move uses of c to before this point.
HF_DEVICE void settle(float (&c)[32][4]) {
#pragma unroll
  for (int j = 0; j < 32; ++j)
#pragma unroll
    for (int r = 0; r < 4; ++r)
      asm volatile("" : "+f"(c[j][r])::"memory");
}

#endif  // HF_HOPPER_CODE

}  // namespace hf::cuda
