// Large bfloat16 products on Hopper with an epilogue of one's own: c = A Bᵀ for A (M, K) and B (N, K), tile
// by tile, nothing written but what the epilogue writes. A block stays on its multiprocessor and takes tile
// after tile of 128 × 256; two warpgroups own 64 rows each (128 accumulators a thread), a third brings boxes
// of 64 depths by TMA into four stages of 48 KiB (192 KiB of shared memory). Two blocks form a cluster: they
// take tiles one above the other, so each brings half of B's box for both. Compute bound: a tile reads (128 +
// 256/2)·2 bytes a depth for 128·256 multiply-adds, 128 a byte.
#pragma once

#include "backends/cuda/hopper.h"
#include "backends/cuda/stream.h"

namespace hf::cuda {

constexpr int kWideRows = 128, kWideColumns = 256, kWideDepth = 64, kWideStages = 4, kWideCluster = 2;
constexpr int kWideThreads = 3 * kWarpgroup;
constexpr int kWideStageBytes = (kWideRows + kWideColumns) * kWideDepth * 2;
constexpr int kWideExtraBytes = 17 * 1024;  // of shared memory for the epilogue, and alignment
constexpr int kWideSharedBytes = kWideStages * kWideStageBytes + kWideExtraBytes;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define HF_WIDE_KERNEL __global__ void __launch_bounds__(kWideThreads, 1) __cluster_dims__(kWideCluster, 1, 1)
#else  // compiled for every target, and empty where it cannot run
#define HF_WIDE_KERNEL __global__ void
#endif

// One product: boxes of 128 rows of A and (half of 256) of B.
struct WideOperands {
  CUtensorMap a, b;
  int depth_boxes = 0;
};
// Which tiles: all, or those that reach the upper triangle.
struct WideTiles {
  int rows, columns;  // of tiles; rows even (the last may lie outside)
  bool upper;
};

#ifdef HF_HOPPER_CODE

using WideAccumulators = float[32][4];

// Tiles in the order in which clusters take them: 16 tiles of rows by all columns, rows first, so that
// concurrent tiles share operands in L2.
struct WideWalk {
  int pair, column;
  HF_DEVICE static WideWalk at(const WideTiles& t, int index) {
    constexpr int kGroup = 8;  // pairs
    const int pairs = t.rows / 2, per_group = kGroup * t.columns, group = index / per_group,
              first = group * kGroup;
    const int height = pairs - first < kGroup ? pairs - first : kGroup, rest = index - group * per_group;
    return {first + rest % height, rest / height};
  }
  HF_DEVICE bool wanted(const WideTiles& t) const {
    return !t.upper || (column + 1) * kWideColumns > pair * 2 * kWideRows;
  }
};

// Stages as a ring, the same for both sides.
struct WideRing {
  int stage = 0, phase = 0;
  HF_DEVICE void next() {
    if (++stage == kWideStages) stage = 0, phase ^= 1;
  }
};

// c = A Bᵀ over `boxes` boxes of depth, of the calling warpgroup (64 rows from `first` on).
HF_DEVICE void wide_product(WideAccumulators& c, char* stages, uint64_t* full, uint64_t* empty,
                            WideRing& ring, int boxes, int first) {
  int release = -1;
  for (int k = 0; k < boxes; ++k) {
    mbarrier_wait(&full[ring.stage], ring.phase);
    const char* stage = stages + ring.stage * kWideStageBytes;
    const uint64_t a = wgmma_operand(stage + first * kWideDepth * 2),
                   b = wgmma_operand(stage + kWideRows * kWideDepth * 2);
    settle(c);
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < kWideDepth / 16; ++i)
      wgmma_bf16(c, a + 2 * i, b + 2 * i, k == 0 && i == 0);
    wgmma_commit();
    wgmma_wait<1>();
    if (release >= 0 && threadIdx.x % kWarpgroup < kWideCluster)
      mbarrier_arrive(&empty[release], threadIdx.x % kWarpgroup);
    release = ring.stage;
    ring.next();
  }
  wgmma_wait<0>();
  settle(c);
  if (release >= 0 && threadIdx.x % kWarpgroup < kWideCluster)
    mbarrier_arrive(&empty[release], threadIdx.x % kWarpgroup);
}

// Every tile of the block: epilogue.tile(product, row0, column0, group, extra) in each of warpgroups 1 and 2,
// for 64 rows from row0 on; product(i, c) multiplies operands i into c, and must be called for each of them
// in order. `extra`: kWideExtraBytes − 1 KiB of shared memory for both.
template <int kProducts, class Epilogue>
HF_DEVICE void wide_kernel(const WideOperands* const (&operands)[kProducts], const WideTiles& tiles,
                           const Epilogue& epilogue) {
  extern __shared__ __align__(1024) char hf_wide_memory[];
  __shared__ uint64_t full[kWideStages], empty[kWideStages];
  char* stages = hf_wide_memory + (1024 - shared_address(hf_wide_memory) % 1024) % 1024;
  char* extra = stages + kWideStages * kWideStageBytes;
  const unsigned rank = cluster_rank();
  const int group = threadIdx.x / kWarpgroup, clusters = gridDim.x / kWideCluster,
            total = tiles.rows / 2 * tiles.columns;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kWideStages; ++s)
      mbarrier_init(&full[s], 1), mbarrier_init(&empty[s], 2 * kWideCluster);
    mbarrier_init_done();
  }
  cluster_sync();
  WideRing ring;
  if (group == 0) {
    registers_down<24>();
    if (threadIdx.x == 0) {
      ring.phase = 1;  // the first round finds every stage free
      for (int index = blockIdx.x / kWideCluster; index < total; index += clusters) {
        const WideWalk walk = WideWalk::at(tiles, index);
        if (!walk.wanted(tiles)) continue;
        const int row = (walk.pair * 2 + int(rank)) * kWideRows,
                  column = walk.column * kWideColumns + int(rank) * (kWideColumns / 2);
#pragma unroll
        for (int i = 0; i < kProducts; ++i) {
          const WideOperands& o = *operands[i];
          for (int k = 0; k < o.depth_boxes; ++k) {
            mbarrier_wait(&empty[ring.stage], ring.phase);
            char* stage = stages + ring.stage * kWideStageBytes;
            mbarrier_arrive_expect(&full[ring.stage], kWideStageBytes);
            tma_load(stage, &o.a, &full[ring.stage], k * kWideDepth, row);
            tma_load_multicast(stage + (kWideRows + int(rank) * (kWideColumns / 2)) * kWideDepth * 2, &o.b,
                               &full[ring.stage], k * kWideDepth, column, 3);
            ring.next();
          }
        }
      }
    }
  } else {
    registers_up<240>();
    const int first = (group - 1) * 64;
    for (int index = blockIdx.x / kWideCluster; index < total; index += clusters) {
      const WideWalk walk = WideWalk::at(tiles, index);
      if (!walk.wanted(tiles)) continue;
      const int row = (walk.pair * 2 + int(rank)) * kWideRows + first;
      epilogue.tile([&](int i, WideAccumulators& c) {
        wide_product(c, stages, full, empty, ring, operands[i]->depth_boxes, first);
      }, row, walk.column * kWideColumns, group, extra);
    }
  }
  cluster_sync();  // no block leaves while another may still signal it
}

#endif  // HF_HOPPER_CODE

// As many blocks as the chip runs at once, in whole clusters.
inline dim3 wide_grid(const WideTiles& tiles, Stream& stream) {
  const int clusters = tiles.rows / kWideCluster * tiles.columns,
            most = stream.multiprocessors() / kWideCluster;
  return dim3(unsigned(kWideCluster * (clusters < most ? clusters : most)));
}

}  // namespace hf::cuda
