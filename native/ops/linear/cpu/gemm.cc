// C = alpha · A B with epilogues: packed, blocked and threaded after Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", TOMS 2008. It costs 2MKN flops and holds a packed copy of
// cpu::kPartFloats of A.
//
//   for each part of A (depth and rows), slice of columns: tasks of columns × rows
//     for each run of column panels, block of depth                    (L2)
//       for each panel of rows (L1), panel of columns: a register tile, B streaming through it
//
// The loops stand in two files: those around the tasks here, those of a task in gemm_product.h.
//
// In bf16 math on a processor with AVX512_BF16, all of this holds for words of two bfloat16 in the place of
// floats (pack_pairs.h): depths and panels count words, and every panel is packed before it is multiplied.
//
// A panel of A is packed by the first tile of the first task that comes to it (gemm_shelf.h), B by the tiles
// of each run's first panel of A (gemm_tile.h), while the others fetch what will be read next.
//
// An element's sum is one chain of fused multiply-adds in the order of k per depth block, then c = alpha ·
// chain + c. Depth blocks depend on K only. So an element's bits depend on neither M, N, the tile it falls
// into, packed_b nor the number of threads.
#include <stddef.h>

#include "ops/linear/cpu/gemm_product.h"
#include "ops/linear/cpu/scratch.h"

namespace hf::HF_ISA {
namespace {

// Panels of B between two looks at whether anybody waits: a few 10 ms.
constexpr int64_t kSlicePanels = 2048 / kTileColumns;
// The same for a single panel of A, in numbers of B: there is less work, so pieces are longer.
constexpr int64_t kSliceFloats = int64_t{1} << 25;
constexpr int64_t kTaskPanels = 8;  // of A per task, at least, and kRunPanels of B
constexpr int64_t kPackGroup = 8;   // panels per task of gemm_pack

// ---- tasks ------------------------------------------------------------------------------------------------

// The greatest divisor of `wanted` up to `most`.
HF_INLINE int64_t shares(int64_t wanted, int64_t most) {
  int64_t count = wanted;
  while (count > 1 && (wanted % count || count > most))
    --count;
  return count;
}

// How the panels of a slice are shared out: row_tasks × column_tasks tasks, none of them empty.
struct Tasks {
  int64_t row_tasks;
  int64_t column_tasks;
  int64_t per_row;     // panels of A of a task
  int64_t per_column;  // panels of B of a task

  // Columns first: then B is packed once. Tasks are of equal size, or the last ones wait, if that leaves
  // something to do for every thread.
  HF_INLINE Tasks(int64_t panels_of_a, int64_t panels_of_b, int64_t wanted, int64_t threads) {
    const int64_t most_columns = divide_up(panels_of_b, kRunPanels);
    const int64_t most_rows = panels_of_a / kTaskPanels;
    column_tasks = shares(wanted, most_columns);
    row_tasks = shares(wanted / column_tasks, most_rows);
    if (column_tasks * row_tasks < threads) {
      column_tasks = least(wanted, most_columns);
      row_tasks = most_rows ? least(divide_up(wanted, column_tasks), most_rows) : 1;
    }
    per_row = divide_up(panels_of_a, row_tasks);
    per_column = divide_up(panels_of_b, column_tasks);
    row_tasks = divide_up(panels_of_a, per_row);
    column_tasks = divide_up(panels_of_b, per_column);
  }

  HF_INLINE int64_t count() const { return row_tasks * column_tasks; }
};

// Panels [b0, b1) of B against the panels of A on a shelf.
void multiply_slice(const Product& product, const Shelf& shelf, int64_t b0, int64_t b1, int64_t k1, Run& r) {
  const int64_t several = product.panels_a > 1 ? 4 : 2;
  const int64_t wanted = r.threads > 1 ? several * r.threads : 1;
  const Tasks tasks(shelf.a1 - shelf.a0, b1 - b0, wanted, r.threads);
  const bool upper = product.target.upper;
  checkpoint(r);
  parallel_for(r, tasks.count(), [&](int64_t task) {
    const int64_t a = shelf.a0 + task / tasks.column_tasks * tasks.per_row;
    const int64_t a_end = least(a + tasks.per_row, shelf.a1);
    const int64_t b = b0 + task % tasks.column_tasks * tasks.per_column;
    // Threads that go through the same rows begin apart, so that each finds packed what the other left. A
    // triangle's first rows reach every column that the others do: they have to be first.
    const int64_t turn = upper ? 0 : (a_end - a) * task / tasks.count();
    const int64_t reached = upper ? a * product.height / kTileColumns : b;
    const Part part = {
        .a0 = a,
        .a1 = a_end,
        .turn = turn,
        .b0 = reached > b ? reached : b,
        .b1 = least(b + tasks.per_column, b1),
        .k0 = shelf.k0,
        .k1 = k1,
    };
    product.multiply(part, shelf);
  });
}

void multiply_all(const Product& product, Run& r) {
  const int64_t K = product.K;
  const cpu::GemmParts parts(product.target.M, K, kTileRows);
  const int64_t slice = product.panels_a > 1
                            ? kSlicePanels / (product.pairs ? 2 : 1)
                            : least(kSliceFloats / (kTileColumns * (K + 1)) + 1, 8 * kSlicePanels);
  Scratch scratch(r);
  float* const memory = scratch.allocate<float>(parts.floats(K));
  uint8_t* const states = scratch.allocate<uint8_t>(parts.states(K));
  int64_t k = 0;
  do {  // once for K = 0, too
    const int64_t k1 = least(k + parts.part_depth, K);
    for (int64_t a0 = 0; a0 < product.panels_a; a0 += parts.part_panels) {
      const int64_t a1 = least(a0 + parts.part_panels, product.panels_a);
      const Shelf shelf = {memory, states, a0, a1, k, product.block, product.height};
      __builtin_memset(states, Shelf::kMissing, static_cast<size_t>(parts.states(K)));
      for (int64_t b0 = 0; b0 < product.panels_b; b0 += slice)
        multiply_slice(product, shelf, b0, least(b0 + slice, product.panels_b), k1, r);
    }
    k += parts.part_depth;
  } while (k < K);
}

// ---- packed_b ---------------------------------------------------------------------------------------------

// What stands before the panels that gemm_pack makes, so that gemm can tell whose they are.
struct PackedHeader {
  char tag[8];
  int64_t tile_columns;
  int64_t depth;
  int64_t columns;
};
constexpr int64_t kHeaderFloats = 16;
static_assert(sizeof(PackedHeader) <= kHeaderFloats * sizeof(float));

PackedHeader header_of(const View& b, bool pairs) {
  return {{'h', 'f', ' ', 'g', 'e', 'm', 'm', pairs ? '2' : '1'}, kTileColumns, b.shape[0], b.shape[1]};
}

// The panels of packed_b, or null where there are none.
const float* packed_panels(const GemmArgs& g, bool pairs) {
  if (!g.packed_b) return nullptr;
  const int64_t K = g.b.shape[0];
  const int64_t N = g.b.shape[1];
  const PackedHeader header = header_of(g.b, pairs);
  const bool is_ours = g.packed_b.bytes() >= gemm_packed_bytes(K, N) &&
                       !__builtin_memcmp(g.packed_b.data, &header, sizeof header);
  HF_CHECK(is_ours, ErrorCode::kInvalidArg,
           "gemm: packed_b was not made by gemm_pack on this backend, in this math, "
           "from a matrix of %lld x %lld; pack it again",
           static_cast<long long>(K), static_cast<long long>(N));
  return g.packed_b.as<const float>() + kHeaderFloats;
}

}  // namespace

void multiply_packed(const float* a, const float* b, int64_t M, int64_t N, int64_t K, float alpha,
                     bool accumulate, float* c, int64_t row) {
  const Target target = {
      .c = c,
      .row = row,
      .M = M,
      .N = N,
      .alpha = alpha,
      .accumulate = accumulate,
      .upper = false,
      .bias = nullptr,
      .residual = nullptr,
      .residual_row = 0,
  };
  const int64_t height = panel_rows(M);
  const int64_t panels_a = divide_up(M, height);
  const int64_t panels_b = divide_up(N, kTileColumns);
  const int64_t block = depth_block(K);
  const Packed run_kernel = packed_kernel(height, false);
  int64_t k = 0;
  do {  // once for K = 0, too
    const int64_t depth = least(block, K - k);
    const float* const of_a = a + panels_a * k * height;
    const float* const of_b = b + panels_b * k * kTileColumns;
    Ahead nothing;
    for (int64_t q = 0; q < panels_b; q += kRunPanels)
      for (int64_t p = 0; p < panels_a; ++p)
        for (int64_t panel = q; panel < least(q + kRunPanels, panels_b); ++panel)
          target.place(p * height, panel * kTileColumns, height, k == 0,
                       [&](const Tile& tile) __attribute__((always_inline)) {
            run_kernel(depth, of_a + p * depth * height, of_b + panel * depth * kTileColumns, tile, nothing);
          });
    k += depth;
  } while (k < K);
}

void run(const GemmArgs& g, Run& r) {
  const int64_t M = g.c.shape[0];
  const int64_t N = g.c.shape[1];
  if (M == 0 || N == 0) return;
  const Target target = {
      .c = g.c.as<float>(),
      .row = g.c.stride[0],
      .M = M,
      .N = N,
      .alpha = static_cast<float>(g.alpha),
      .accumulate = g.accumulate,
      .upper = g.triangle == Triangle::kUpper,
      .bias = g.bias.as<const float>(),
      .residual = g.residual.as<const float>(),
      .residual_row = g.residual.stride[0],
  };
  const bool pairs = in_pairs(r);
  multiply_all(Product(target, g.a, g.b, packed_panels(g, pairs), pairs), r);
}

// A task packs kPackGroup panels.
void run(const GemmPackArgs& g, Run& r) {
  const bool pairs = in_pairs(r);
  const PackedHeader header = header_of(g.b, pairs);
  __builtin_memcpy(g.packed.data, &header, sizeof header);
  float* const out = g.packed.as<float>() + kHeaderFloats;
  const Operand operand = operand_b(g.b, pairs);
  const int64_t K = operand.depth();
  const int64_t block = depth_block(K);
  const int64_t panels = operand.panels();
  parallel_for(r, divide_up(panels, kPackGroup), [&](int64_t task) {
    const int64_t first = task * kPackGroup;
    const int64_t last = least(first + kPackGroup, panels);
    for (int64_t k = 0; k < K; k += block) {
      const int64_t depth = least(block, K - k);
      operand.pack_panels(out + (panels * k + first * depth) * kTileColumns, first, last, k, depth);
    }
  });
}

}  // namespace hf::HF_ISA
