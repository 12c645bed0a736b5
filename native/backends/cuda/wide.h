// Large bfloat16 products on Hopper, with an epilogue of one's own. c = A Bᵀ for A (M, K) and B (N, K) is
// computed tile by tile, and handed to the epilogue in registers: nothing is written but what the epilogue
// writes (a row's softmax statistics, or sums of a Gram matrix), so c never exists in memory.
//
// A kernel is one call of wide_kernel. A block stays on its multiprocessor and takes tile after tile of 128 ×
// 256 numbers of c. Of its three warpgroups (hopper.h) the first is the *producer*: it asks the copy engine
// for boxes of 64 depths of A and B, into four stages of 48 KiB, 192 KiB of shared memory. The other two are
// *consumers*: each multiplies 64 rows of the tile, 128 accumulators a thread, and calls the epilogue. A pair
// of barriers a stage keeps them in step: `full` says that the boxes have come, `empty` that the consumers
// are done with them. Two blocks form a cluster. They take tiles one above the other, so that each brings
// half of B's box, for both.
//
// Compute bound: a tile reads (128 + 256/2)·2 bytes a depth for 128·256 multiply-adds, 128 operations a byte.
#pragma once

#include "backends/cuda/hopper.h"
#include "backends/cuda/stream.h"

namespace hf::cuda {

constexpr int kWideRows = 128;  // of a tile
constexpr int kWideColumns = 256;
constexpr int kWideDepth = 64;  // of a box
constexpr int kWideStages = 4;
constexpr int kWideCluster = 2;  // blocks
constexpr int kWideThreads = 3 * kWarpgroup;
constexpr int kWideStageBytes = (kWideRows + kWideColumns) * kWideDepth * 2;
constexpr int kWideExtraBytes = 17 * 1024;  // of shared memory for the epilogue, and alignment
constexpr int kWideSharedBytes = kWideStages * kWideStageBytes + kWideExtraBytes;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define HF_WIDE_KERNEL __global__ void __launch_bounds__(kWideThreads, 1) __cluster_dims__(kWideCluster, 1, 1)
#else  // compiled for every target, and empty where it cannot run
#define HF_WIDE_KERNEL __global__ void
#endif

// The operands of one product: boxes of 128 rows of A and of (half of 256) rows of B.
struct WideOperands {
  CUtensorMap a, b;
  int depth_boxes = 0;
};
// Which tiles of c are computed: all, or those that reach the upper triangle.
struct WideTiles {
  int rows, columns;  // counted in tiles; `rows` is even, and the last one may lie outside
  bool upper;
};

#ifdef HF_HOPPER_CODE

using WideAccumulators = float[32][4];

// The order in which clusters take tiles: 16 tiles of rows by all columns, rows first, so that tiles that are
// computed at the same time share operands in L2.
struct WideWalk {
  int pair, column;  // of tiles; a pair of rows for the two blocks of a cluster
  HF_DEVICE static WideWalk at(const WideTiles& t, int index) {
    constexpr int kGroup = 8;  // pairs
    const int pairs = t.rows / 2;
    const int per_group = kGroup * t.columns;
    const int group = index / per_group;
    const int first = group * kGroup;
    const int height = pairs - first < kGroup ? pairs - first : kGroup;
    const int rest = index - group * per_group;
    return {first + rest % height, rest / height};
  }
  HF_DEVICE bool wanted(const WideTiles& t) const {
    return !t.upper || (column + 1) * kWideColumns > pair * 2 * kWideRows;
  }
};

// The stages as a ring, which producer and consumers walk in the same way. `phase` is the parity of the
// round.
struct WideRing {
  int stage = 0;
  int phase = 0;
  HF_DEVICE void next() {
    if (++stage == kWideStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// The block's shared memory as the two sides see it.
struct WideStages {
  char* data;
  uint64_t* full;   // a barrier a stage: its boxes have come
  uint64_t* empty;  // a barrier a stage: consumers of both blocks are done with it
};

// A consumer's warpgroup is done with a stage: two of its threads say so to the two blocks of the cluster.
HF_DEVICE void release_stage(const WideStages& stages, int stage) {
  if (stage >= 0 && threadIdx.x % kWarpgroup < kWideCluster)
    mbarrier_arrive(&stages.empty[stage], threadIdx.x % kWarpgroup);
}

// c = A Bᵀ over `boxes` boxes of depth, by the calling warpgroup, for the 64 rows from `first` on. While a
// box is multiplied the one before it is given back.
HF_DEVICE void wide_product(WideAccumulators& c, const WideStages& stages, WideRing& ring, int boxes,
                            int first) {
  int release = -1;
  for (int k = 0; k < boxes; ++k) {
    mbarrier_wait(&stages.full[ring.stage], ring.phase);
    const char* stage = stages.data + ring.stage * kWideStageBytes;
    const uint64_t a = wgmma_operand(stage + first * kWideDepth * 2);
    const uint64_t b = wgmma_operand(stage + kWideRows * kWideDepth * 2);
    settle(c);
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < kWideDepth / 16; ++i)
      wgmma_bf16(c, a + 2 * i, b + 2 * i, k == 0 && i == 0);
    wgmma_commit();
    wgmma_wait<1>();
    release_stage(stages, release);
    release = ring.stage;
    ring.next();
  }
  wgmma_wait<0>();
  settle(c);
  release_stage(stages, release);
}

// The producer brings all boxes of one tile. `row` and `column` are those of this block's boxes.
template <int kProducts>
HF_DEVICE void bring_tile(const WideOperands* const (&operands)[kProducts], const WideStages& stages,
                          WideRing& ring, int rank, int row, int column) {
#pragma unroll
  for (int i = 0; i < kProducts; ++i) {
    const WideOperands& o = *operands[i];
    for (int k = 0; k < o.depth_boxes; ++k) {
      mbarrier_wait(&stages.empty[ring.stage], ring.phase);
      char* stage = stages.data + ring.stage * kWideStageBytes;
      char* half_of_b = stage + (kWideRows + rank * (kWideColumns / 2)) * kWideDepth * 2;
      uint64_t* full = &stages.full[ring.stage];
      mbarrier_arrive_expect(full, kWideStageBytes);
      tma_load(stage, &o.a, full, k * kWideDepth, row);
      tma_load_multicast(half_of_b, &o.b, full, k * kWideDepth, column, 3);
      ring.next();
    }
  }
}

// Every tile of the block: epilogue.tile(product, row0, column0, group, extra) is called in each of
// warpgroups 1 and 2, for the 64 rows from row0 on. product(i, c) multiplies operands i into c; the epilogue
// must call it for each of them, in order. `extra` is kWideExtraBytes − 1 KiB of shared memory for both.
template <int kProducts, class Epilogue>
HF_DEVICE void wide_kernel(const WideOperands* const (&operands)[kProducts], const WideTiles& tiles,
                           const Epilogue& epilogue) {
  extern __shared__ __align__(1024) char hf_wide_memory[];
  __shared__ uint64_t full[kWideStages];
  __shared__ uint64_t empty[kWideStages];
  char* aligned = hf_wide_memory + (1024 - shared_address(hf_wide_memory) % 1024) % 1024;
  const WideStages stages{aligned, full, empty};
  char* extra = stages.data + kWideStages * kWideStageBytes;
  const int rank = int(cluster_rank());
  const int group = threadIdx.x / kWarpgroup;
  const int clusters = gridDim.x / kWideCluster;
  const int total = tiles.rows / 2 * tiles.columns;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kWideStages; ++s) {
      mbarrier_init(&full[s], 1);
      mbarrier_init(&empty[s], 2 * kWideCluster);
    }
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
        const int row = (walk.pair * 2 + rank) * kWideRows;
        const int column = walk.column * kWideColumns + rank * (kWideColumns / 2);
        bring_tile(operands, stages, ring, rank, row, column);
      }
    }
  } else {
    registers_up<240>();
    const int first = (group - 1) * 64;
    for (int index = blockIdx.x / kWideCluster; index < total; index += clusters) {
      const WideWalk walk = WideWalk::at(tiles, index);
      if (!walk.wanted(tiles)) continue;
      const int row = (walk.pair * 2 + rank) * kWideRows + first;
      const auto product = [&](int i, WideAccumulators& c) {
        wide_product(c, stages, ring, operands[i]->depth_boxes, first);
      };
      epilogue.tile(product, row, walk.column * kWideColumns, group, extra);
    }
  }
  cluster_sync();  // no block leaves while another may still signal it
}

#endif  // HF_HOPPER_CODE

// As many blocks as the chip runs at once, in whole clusters.
inline dim3 wide_grid(const WideTiles& tiles, Stream& stream) {
  const int clusters = tiles.rows / kWideCluster * tiles.columns;
  const int most = stream.multiprocessors() / kWideCluster;
  return dim3(unsigned(kWideCluster * (clusters < most ? clusters : most)));
}

}  // namespace hf::cuda
