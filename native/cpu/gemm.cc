// C = alpha · A B with epilogues: packed, blocked, threaded (Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", TOMS 2008). flops 2MKN; a packed copy of at most kMaxDepth × 2048 of B.
//
//   for each block of depth, slice of columns: pack B                 (L3; skipped when the caller brings packed_b)
//     tasks: a block of rows: pack A                                  (L2, on the task's stack)
//       for each run of column panels                                 (L2)
//         for each panel of rows (L1), panel of columns: a register tile, B streaming through it
//
// An element's sum: one chain of fused multiply-adds in the order of k per depth block, then c = alpha · chain + c. Depth blocks
// depend on K only. So an element's bits depend on neither M, N, the tile it falls into, packed_b nor the number of threads.
// Up to kSmallRows rows, B is read once and packed a few cache lines at a time, transposed in registers: no copy of B is made.
#include "cpu/pack.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kSlicePanels = 2048 / kTileColumns;  // 4 MiB at full depth
constexpr int64_t kRunPanels = 512 / kTileColumns;  // 1 MiB at full depth
constexpr int64_t kBlockRows = 140;                 // 280 KiB at full depth
constexpr int64_t kPackGroup = 8;                   // panels per packing task
constexpr int64_t kSmallRows = 8;
constexpr int kStreamRows = kTileRows < kSmallRows ? 4 : 8;  // rows whose chains fit the registers beside a square of B

struct PackedHeader {
  char tag[8];
  int64_t tile_columns, depth, columns;
};
constexpr int64_t kHeaderFloats = 16;
static_assert(sizeof(PackedHeader) <= kHeaderFloats * sizeof(float));

// ---- packing -------------------------------------------------------------------------------------------------------------

// An operand as panels along `w` (rows of A, columns of B) and depth k.
struct Operand {
  View view;
  int w, k;
  int64_t width;

  // Panels [first, last) of one depth block, `out` being the block's panel `first`.
  HF_INLINE void pack_panels(float* out, int64_t first, int64_t last, int64_t begin_k, int64_t count_k) const {
    if (view.dtype == DType::kBF16) pack_as<uint16_t>(out, first, last, begin_k, count_k);
    else pack_as<float>(out, first, last, begin_k, count_k);
  }
  template <class Element>
  HF_INLINE void pack_as(float* out, int64_t first, int64_t last, int64_t begin_k, int64_t count_k) const {
    const int64_t step_w = view.stride[w], step_k = view.stride[k], count_w = view.shape[w];
    const Element* source = view.as<const Element>() + begin_k * step_k;
    if (step_w == 1) {
      const auto row = [&](int64_t k) __attribute__((always_inline)) { return source + first * width + k * step_k; };
      return pack_rows(row, count_k, last - first, count_w - first * width, width, out);
    }
    for (int64_t panel = first; panel < last; ++panel, out += width * count_k)
      pack_panel(out, width, source + panel * width * step_w, step_w, step_k, count_w - panel * width, count_k);
  }
  HF_INLINE int64_t panels() const { return divide_up(view.shape[w], width); }
};

HF_INLINE Operand operand_a(const View& a) { return {a, 0, 1, panel_rows(a.shape[0])}; }
HF_INLINE Operand operand_b(const View& b) { return {b, 1, 0, kTileColumns}; }

HF_INLINE void pack_all(const Operand& operand, float* out) {
  const int64_t K = operand.view.shape[operand.k], block = depth_block(K);
  for (int64_t k = 0; k < K; k += block) {
    const int64_t depth = K - k < block ? K - k : block;
    operand.pack_panels(out + operand.panels() * operand.width * k, 0, operand.panels(), k, depth);
  }
}

// ---- the register tile -----------------------------------------------------------------------------------------------------

enum class Leave {
  kStore,   // c = alpha · chain
  kAdd,     // c += alpha · chain
  kChain,   // c = chain
  kResume,  // the chain goes on from c, c = chain
};

using Kernel = void (*)(int64_t depth, const float* a, const float* b, float* c, int64_t row, float alpha, Leave leave);

// R × kTileColumns elements: a (depth, R), b (depth, kTileColumns).
template <int R>
HF_NOINLINE void kernel(int64_t depth, const float* HF_RESTRICT a, const float* HF_RESTRICT b, float* HF_RESTRICT c, int64_t row, float alpha,
                        Leave leave) {
  Floats chain[R][2];
  if (leave == Leave::kResume) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) chain[i][0] = load(c + i * row), chain[i][1] = load(c + i * row + kLanes);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      chain[i][0] = chain[i][1] = zero();
      __builtin_prefetch(c + i * row, 1);
      __builtin_prefetch(c + i * row + kLanes, 1);
    }
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const Floats b0 = load(b + k * kTileColumns), b1 = load(b + k * kTileColumns + kLanes);
    __builtin_prefetch(b + k * kTileColumns + 1024);  // packed panels follow one another
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Floats x = broadcast(a[k * R + i]);
      chain[i][0] = multiply_add(x, b0, chain[i][0]);
      chain[i][1] = multiply_add(x, b1, chain[i][1]);
    }
  }
  const Floats scale = broadcast(alpha);
  switch (leave) {
    case Leave::kStore:
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        store(c + i * row, multiply_add(chain[i][0], scale, zero()));
        store(c + i * row + kLanes, multiply_add(chain[i][1], scale, zero()));
      }
      break;
    case Leave::kAdd:
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        store(c + i * row, multiply_add(chain[i][0], scale, load(c + i * row)));
        store(c + i * row + kLanes, multiply_add(chain[i][1], scale, load(c + i * row + kLanes)));
      }
      break;
    default:
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) store(c + i * row, chain[i][0]), store(c + i * row + kLanes, chain[i][1]);
  }
}

template <int R = kTileRows>
HF_INLINE Kernel kernel_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return kernel_of<R - 1>(rows);
  }
  return &kernel<R>;
}

// The same chains for a panel of B whose columns lie along k (step_n apart), read once: squares of kLanes are transposed in
// registers and used at once. depth: a multiple of kLanes.
template <int R, class Element>
HF_NOINLINE void stream_kernel(int64_t depth, const float* HF_RESTRICT a, const Element* HF_RESTRICT b, int64_t step_n, float* HF_RESTRICT c) {
  Floats chain[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) chain[i][0] = chain[i][1] = zero();
  for (int64_t k = 0; k < depth; k += kLanes) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Floats square[kLanes];
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) {
        const Element* from = b + (half * kLanes + j) * step_n + k;
        square[j] = fetch(from);
        __builtin_prefetch(from + kAhead<Element>, 0, 2);
      }
      transpose(square);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j)
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i) chain[i][half] = multiply_add(broadcast(a[(k + j) * R + i]), square[j], chain[i][half]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) store(c + i * kTileColumns, chain[i][0]), store(c + i * kTileColumns + kLanes, chain[i][1]);
}

template <class Element>
using StreamKernel = void (*)(int64_t depth, const float* a, const Element* b, int64_t step_n, float* c);
template <class Element, int R = kStreamRows>
HF_INLINE StreamKernel<Element> stream_kernel_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return stream_kernel_of<Element, R - 1>(rows);
  }
  return &stream_kernel<R, Element>;
}

// ---- what surrounds the tile -------------------------------------------------------------------------------------------------

// Where a product goes. Members are what the inner loops need of GemmArgs.
struct Target {
  float* c;
  int64_t row, M, N;
  float alpha;
  bool accumulate, upper;
  const float* bias;      // null or (N)
  const float* residual;  // null or (M,N)
  int64_t residual_row;

  HF_INLINE bool plain(bool first) const { return !(first && (bias || residual)); }

  // c = alpha · chain + c, and on the first depth block the epilogue; chain (rows, kTileColumns) with rows `chain_row` apart.
  HF_NOINLINE void finish(const float* chain, int64_t m0, int64_t n0, int64_t rows, int64_t columns, bool first) const {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; j += kLanes) {
        const int64_t m = m0 + i, n = n0 + j, count = columns - j;
        if (upper && n + (count < kLanes ? count : kLanes) <= m) continue;
        float* to = c + m * row + n;
        Floats base = first && !accumulate ? zero() : load_partial(to, count);
        if (first && bias) base += load_partial(bias + n, count);
        if (first && residual) base += load_partial(residual + m * residual_row + n, count);
        const Floats value = multiply_add(load(chain + i * kTileColumns + j), broadcast(alpha), base);
        if (upper && n < m) {
          for (int64_t lane = m - n; lane < kLanes && lane < count; ++lane) to[lane] = value[lane];
        } else {
          store_partial(to, value, count);
        }
      }
  }
};

// Rows [m_begin, m_end) × column panels [first_panel, last_panel) of one depth block. a, b: the packed panels from m_begin and
// first_panel on; m_begin is a multiple of `height`, the rows per panel of a.
HF_NOINLINE void multiply_block(const Target& t, const float* a, const float* b, int64_t height, int64_t depth, int64_t m_begin, int64_t m_end,
                                int64_t first_panel, int64_t last_panel, bool first) {
  const Kernel run_kernel = kernel_of(height);
  const auto tile = [&](int64_t m, int64_t panel) __attribute__((always_inline)) {
    const int64_t n = panel * kTileColumns, rows = least(m_end - m, height), columns = least(t.N - n, kTileColumns);
    if (t.upper && n + columns <= m) return;
    const float* const of_a = a + (m - m_begin) * depth;
    const float* const of_b = b + (panel - first_panel) * kTileColumns * depth;
    if (rows == height && columns == kTileColumns && !(t.upper && n < m + rows - 1) && t.plain(first)) {
      run_kernel(depth, of_a, of_b, t.c + m * t.row + n, t.row, t.alpha, first && !t.accumulate ? Leave::kStore : Leave::kAdd);
    } else {
      alignas(64) float chain[kTileRows * kTileColumns];
      run_kernel(depth, of_a, of_b, chain, kTileColumns, 1, Leave::kChain);
      t.finish(chain, m, n, rows, columns, first);
    }
  };
  for (int64_t q = first_panel; q < last_panel; q += kRunPanels)
    for (int64_t m = m_begin; m < m_end; m += height)
      for (int64_t panel = q; panel < least(q + kRunPanels, last_panel); ++panel) tile(m, panel);
}

void multiply_blocked(const Target& t, const View& a, const View& b, const float* packed_b, Run& run) {
  const int64_t K = a.shape[1], block = depth_block(K);
  const Operand operand_of_a = operand_a(a), operand_of_b = operand_b(b);
  const int64_t height = operand_of_a.width, panels_a = operand_of_a.panels(), panels_b = operand_of_b.panels();
  // Tasks of nearly equal size: blocks of rows, and where those are few for the threads, parts of the columns.
  const int64_t blocks = divide_up(panels_a, kBlockRows / height), per_block = divide_up(panels_a, blocks);
  Scratch scratch(run);
  float* const memory_b = packed_b ? nullptr : scratch.allocate<float>(least(kSlicePanels, panels_b) * kTileColumns * block);

  int64_t k = 0;
  do {
    const int64_t depth = least(block, K - k);
    for (int64_t b0 = 0; b0 < panels_b; b0 += kSlicePanels) {
      const int64_t b1 = least(b0 + kSlicePanels, panels_b);
      checkpoint(run);
      if (!packed_b)
        parallel_for(run, divide_up(b1 - b0, kPackGroup), [&](int64_t task) {
          const int64_t p = b0 + task * kPackGroup;
          operand_of_b.pack_panels(memory_b + (p - b0) * kTileColumns * depth, p, least(p + kPackGroup, b1), k, depth);
        });
      const float* const slice = packed_b ? packed_b + (panels_b * k + b0 * depth) * kTileColumns : memory_b;
      const int64_t wanted = run.threads > 1 ? divide_up(8 * run.threads, blocks) : 1, per_part = divide_up(b1 - b0, least(wanted, b1 - b0));
      parallel_for(run, blocks * divide_up(b1 - b0, per_part), [&](int64_t task) {
        const int64_t p0 = task % blocks * per_block, p1 = least(p0 + per_block, panels_a), q0 = b0 + task / blocks * per_part, q1 = least(q0 + per_part, b1);
        if (p0 >= p1 || (t.upper && q1 * kTileColumns <= p0 * height)) return;
        alignas(64) float rows_of_a[kBlockRows * kMaxDepth];
        operand_of_a.pack_panels(rows_of_a, p0, p1, k, depth);
        multiply_block(t, rows_of_a, slice + (q0 - b0) * depth * kTileColumns, height, depth, p0 * height, least(p1 * height, t.M), q0, q1, k == 0);
      });
    }
    k += depth;
  } while (k < K);
}

// Few rows: the time is that of reading B once. With b along k (a weight (N,K), used as its transpose) whole panels are streamed
// through registers; otherwise a panel is packed a few lines at a time into the L1 cache and used at once. With b along n a task
// takes many panels, so that each row of b is read in long runs.
void multiply_few_rows(const Target& t, const View& a, const View& b, Run& run) {
  constexpr int64_t kMaxGroup = 1024 / kTileColumns, kPiece = 64;
  const int64_t K = a.shape[1], block = depth_block(K);
  const int64_t height = divide_up(t.M, divide_up(t.M, kStreamRows));
  const Operand operand_of_a = {a, 0, 1, height}, operand_of_b = operand_b(b);
  const int64_t panels_a = operand_of_a.panels(), panels_b = operand_of_b.panels();
  Scratch scratch(run);
  float* const packed_a = scratch.allocate<float>(panels_a * height * K);
  pack_all(operand_of_a, packed_a);
  const bool along_n = b.stride[1] == 1;
  const int64_t piece = along_n ? 8 : kPiece;
  const int64_t eighth = divide_up(panels_b, 8), group = along_n ? (eighth < 2 ? 2 : least(eighth, kMaxGroup)) : 2;
  const Kernel run_kernel = kernel_of(height);
  const bool stream = b.stride[0] == 1 && b.stride[1] != 1;
  checkpoint(run);
  parallel_for(run, divide_up(panels_b, group), [&](int64_t task) {
    alignas(64) float chains[kMaxGroup * kSmallRows * kTileColumns];
    alignas(64) float lines[kPiece * kTileColumns];
    const int64_t q0 = task * group, q1 = least(q0 + group, panels_b), tile = panels_a * height * kTileColumns;
    const auto step = [&](int64_t panel, int64_t k, int64_t depth, int64_t p) __attribute__((always_inline)) {
      const int64_t count = least(piece, depth - p);
      operand_of_b.pack_panels(lines, panel, panel + 1, k + p, count);
      for (int64_t i = 0; i < panels_a; ++i)
        run_kernel(count, packed_a + (panels_a * k + i * depth + p) * height, lines, chains + (panel - q0) * tile + i * height * kTileColumns, kTileColumns,
                   1, p ? Leave::kResume : Leave::kChain);
    };
    const auto finish = [&](int64_t panel, bool first) __attribute__((always_inline)) {
      const int64_t n = panel * kTileColumns;
      t.finish(chains + (panel - q0) * tile, 0, n, t.M, least(t.N - n, kTileColumns), first);
    };
    for (int64_t k = 0; k < K; k += block) {
      const int64_t depth = least(block, K - k);
      if (along_n) {
        for (int64_t p = 0; p < depth; p += piece)
          for (int64_t panel = q0; panel < q1; ++panel) step(panel, k, depth, p);
        for (int64_t panel = q0; panel < q1; ++panel) finish(panel, k == 0);
      }
    }
    if (along_n) return;
    for (int64_t panel = q0; panel < q1; ++panel)
      for (int64_t k = 0; k < K; k += block) {
        const int64_t depth = least(block, K - k);
        int64_t p = 0;
        if (stream && panels_a == 1 && (panel + 1) * kTileColumns <= t.N) {
          p = depth / kLanes * kLanes;
          const float* of_a = packed_a + k * height;
          float* chain = chains + (panel - q0) * tile;
          const int64_t at = panel * kTileColumns * b.stride[1] + k;
          if (b.dtype == DType::kBF16) stream_kernel_of<uint16_t>(height)(p, of_a, b.as<const uint16_t>() + at, b.stride[1], chain);
          else stream_kernel_of<float>(height)(p, of_a, b.as<const float>() + at, b.stride[1], chain);
        }
        for (; p < depth; p += piece) step(panel, k, depth, p);
        finish(panel, k == 0);
      }
  });
}

const float* packed_panels(const GemmArgs& g) {
  const int64_t K = g.b.shape[0], N = g.b.shape[1];
  PackedHeader header;
  const bool large_enough = g.packed_b.bytes() >= gemm_packed_bytes(K, N);
  if (large_enough) __builtin_memcpy(&header, g.packed_b.data, sizeof header);
  HF_CHECK(large_enough && !__builtin_memcmp(header.tag, "hf gemm", 8) && header.tile_columns == kTileColumns && header.depth == K && header.columns == N,
           ErrorCode::kInvalidArg, "gemm: packed_b was not made by gemm_pack on this backend from a matrix of %lld x %lld; pack it again",
           static_cast<long long>(K), static_cast<long long>(N));
  return g.packed_b.as<const float>() + kHeaderFloats;
}

}  // namespace

void pack_a(const View& a, float* out) { pack_all(operand_a(a), out); }
void pack_b(const View& b, float* out) { pack_all(operand_b(b), out); }

void multiply_packed(const float* a, const float* b, int64_t M, int64_t N, int64_t K, float alpha, bool accumulate, float* c, int64_t row) {
  const Target t = {c, row, M, N, alpha, accumulate, false, nullptr, nullptr, 0};
  const int64_t height = panel_rows(M), panels_a = divide_up(M, height), panels_b = divide_up(N, kTileColumns), block = depth_block(K);
  const int64_t panels_per_block = kBlockRows / height;
  int64_t k = 0;
  do {
    const int64_t depth = least(block, K - k);
    for (int64_t p = 0; p < panels_a; p += panels_per_block)
      multiply_block(t, a + (panels_a * k + p * depth) * height, b + panels_b * k * kTileColumns, height, depth, p * height,
                     least((p + panels_per_block) * height, M), 0, panels_b, k == 0);
    k += depth;
  } while (k < K);
}

void run(const GemmArgs& g, Run& r) {
  const int64_t M = g.c.shape[0], N = g.c.shape[1], K = g.a.shape[1];
  if (M == 0 || N == 0) return;
  const Target t = {g.c.as<float>(), g.c.stride[0], M, N, static_cast<float>(g.alpha), g.accumulate, g.triangle == Triangle::kUpper,
                    g.bias.as<const float>(), g.residual.as<const float>(), g.residual.stride[0]};
  const float* packed_b = g.packed_b ? packed_panels(g) : nullptr;
  if (M <= kSmallRows && K > 0 && !packed_b) multiply_few_rows(t, g.a, g.b, r);
  else multiply_blocked(t, g.a, g.b, packed_b, r);
}

void run(const GemmPackArgs& g, Run& r) {
  const int64_t K = g.b.shape[0], N = g.b.shape[1];
  const PackedHeader header = {"hf gemm", kTileColumns, K, N};
  __builtin_memcpy(g.packed.data, &header, sizeof header);
  float* const out = g.packed.as<float>() + kHeaderFloats;
  const Operand operand = operand_b(g.b);
  const int64_t block = depth_block(K), panels = operand.panels();
  parallel_for(r, divide_up(panels, kPackGroup), [&](int64_t task) {
    const int64_t p0 = task * kPackGroup, p1 = least(p0 + kPackGroup, panels);
    for (int64_t k = 0; k < K; k += block) {
      const int64_t depth = least(block, K - k);
      operand.pack_panels(out + (panels * k + p0 * depth) * kTileColumns, p0, p1, k, depth);
    }
  });
}

}  // namespace hf::HF_ISA
