// C = alpha · A B with epilogues: packed, blocked, threaded (after Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", TOMS 2008). flops 2MKN; a packed copy of kPartFloats of A.
//
//   for each part of A (depth and rows), slice of columns: tasks of rows × columns, each for itself
//     for each run of column panels, block of depth                    (L2)
//       for each panel of rows (L1), panel of columns: a register tile, B streaming through it
//
// A is packed as the first run comes to it, B by the tiles of the first panel of rows (gemm_tile.h), while the tiles of the others fetch
// what the next run will read.
//
// An element's sum: one chain of fused multiply-adds in the order of k per depth block, then c = alpha · chain + c. Depth blocks
// depend on K only. So an element's bits depend on neither M, N, the tile it falls into, packed_b nor the number of threads.
#include "cpu/gemm_tile.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kPartFloats = 1152 * kMaxDepth;      // of A packed at a time: 2.25 MiB
constexpr int64_t kSlicePanels = 2048 / kTileColumns;  // between two looks at whether anybody waits
constexpr int64_t kRunPanels = 128 / kTileColumns;     // 256 KiB at full depth
constexpr int64_t kLongRun = 1024 / kTileColumns;      // of B along n, when each panel is read once: kPieceRows pieces of 4 KiB
constexpr int64_t kPieceRows = 32;
constexpr int64_t kPackRows = 140;                     // of A at a time
constexpr int64_t kPackGroup = 8;                      // panels per task of gemm_pack
constexpr int64_t kTaskPanels = 8;                     // of A per task, at least

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

// ---- what surrounds a tile -------------------------------------------------------------------------------------------------

// Where a product goes. Members are what the inner loops need of GemmArgs.
struct Target {
  float* c;
  int64_t row, M, N;
  float alpha;
  bool accumulate, upper;
  const float* bias;      // null or (N)
  const float* residual;  // null or (M,N)
  int64_t residual_row;

  // The tile of `height` rows and kTileColumns at (m, n): multiply(tile) runs a kernel into it. first: on the first depth block, the one with
  // the epilogue.
  template <class Multiply>
  HF_INLINE void place(int64_t m, int64_t n, int64_t height, bool first, const Multiply& multiply) const {
    const int64_t rows = least(M - m, height), columns = least(N - n, kTileColumns);
    if (upper && n + columns <= m) return;
    if (rows == height && columns == kTileColumns && !(upper && n < m + rows - 1) && !(first && (bias || residual))) {
      multiply(Tile{c + m * row + n, row, alpha, first && !accumulate ? Leave::kStore : Leave::kAdd});
    } else {
      alignas(64) float chain[kTileRows * kTileColumns];
      multiply(Tile{chain, kTileColumns, 1, Leave::kChain});
      finish(chain, m, n, rows, columns, first);
    }
  }

  // c = alpha · chain + c, and on the first depth block the epilogue; chain (rows, kTileColumns).
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

// Where a task's tiles are: panels [a0, a1) of A, [b0, b1) of B, depth from k0 up to k1.
struct Part { int64_t a0, a1, b0, b1, k0, k1; };

// A product cut into panels.
struct Product {
  Target t;
  Operand a, b;
  const float* packed_b;  // gemm_pack's panels, or null
  int64_t K, block, height, panels_a, panels_b;

  HF_INLINE Product(const Target& target, const View& of_a, const View& of_b, const float* packed)
      : t(target), a(operand_a(of_a)), b(operand_b(of_b)), packed_b(packed), K(of_a.shape[1]), block(depth_block(K)), height(a.width),
        panels_a(a.panels()), panels_b(b.panels()) {}

  HF_INLINE int64_t depth(int64_t k) const { return least(block, K - k); }

  // What tiles of panels [first, last) of B will read at depth k.
  HF_INLINE Ahead source(int64_t first, int64_t last, int64_t k) const {
    const View& v = b.view;
    const int64_t bytes = dtype_bytes(v.dtype), n = first * kTileColumns, columns = least(last * kTileColumns, t.N) - n;
    if (packed_b && panels_a == 1) return {};  // a stream, which the hardware sees
    if (packed_b) return {panel_of(first, k), (last - first) * kTileColumns * depth(k) * 4, 0, 1};
    const char* const at = v.as<const char>() + (k * v.stride[0] + n * v.stride[1]) * bytes;
    if (v.stride[1] == 1) return {at, columns * bytes, v.stride[0] * bytes, depth(k)};
    if (v.stride[0] == 1) return {at, depth(k) * bytes, v.stride[1] * bytes, columns};
    return {};
  }
  HF_INLINE const float* panel_of(int64_t panel, int64_t k) const { return packed_b + (panels_b * k + panel * depth(k)) * kTileColumns; }

  // A tile that reads B as it lies and leaves the panel in `packed`, if there are more panels of A for it.
  HF_NOINLINE void read_tile(int64_t panel, int64_t k, const float* of_a, float* packed, bool more, const Tile& tile) const {
    const View& v = b.view;
    const int64_t n = panel * kTileColumns, count = depth(k), begin = k * v.stride[0] + n * v.stride[1];
    const bool whole = n + kTileColumns <= t.N;
    Ahead nothing;
    if (whole && v.stride[0] == 1) {
      const int64_t next = halves(height) * kLanes * v.stride[1], turn = more ? next - count : k + count < K ? 0 : next - K;
      if (v.dtype == DType::kBF16) along_k_of<uint16_t>(height)(count, of_a, v.as<const uint16_t>() + begin, v.stride[1], more ? packed : nullptr, tile, turn);
      else along_k_of<float>(height)(count, of_a, v.as<const float>() + begin, v.stride[1], more ? packed : nullptr, tile, turn);
    } else if (whole && v.stride[1] == 1 && v.dtype == DType::kF32) {
      along_n_of(height)(count, of_a, v.as<const float>() + begin, v.stride[0], packed, tile, nothing);
    } else {
      b.pack_panels(packed, panel, panel + 1, k, count);
      kernel_of(height)(count, of_a, packed, tile, nothing);
    }
  }

  // What panels [first, last) of A are packed from at depth k.
  HF_INLINE Ahead rows_of(int64_t first, int64_t last, int64_t k) const {
    const View& v = a.view;
    const int64_t bytes = dtype_bytes(v.dtype), m = first * height, rows = least(last * height, t.M) - m;
    const char* const at = v.as<const char>() + (m * v.stride[0] + k * v.stride[1]) * bytes;
    if (v.stride[1] == 1) return {at, depth(k) * bytes, v.stride[0] * bytes, rows};
    if (v.stride[0] == 1) return {at, rows * bytes, v.stride[1] * bytes, depth(k)};
    return {};
  }

  // One panel of A and B along n: B is read once, a few long pieces of rows at a time.
  HF_NOINLINE void multiply_along_n(const Part& part, float* of_a) const {
    alignas(64) float chains[kLongRun * kTileRows * kTileColumns], lines[kPieceRows * kTileColumns];
    const Kernel run_kernel = kernel_of(height);
    const AlongN along_n = along_n_of(height);
    const View& v = b.view;
    for (int64_t k = part.k0; k == part.k0 || k < part.k1; k += block) a.pack_panels(of_a + (k - part.k0) * height, part.a0, part.a1, k, depth(k));
    for (int64_t q = part.b0; q < part.b1; q += kLongRun)
      for (int64_t k = part.k0; k == part.k0 || k < part.k1; k += block) {
        const int64_t end = least(q + kLongRun, part.b1), m = part.a0 * height;
        const auto chain_of = [&](int64_t panel) __attribute__((always_inline)) { return chains + (panel - q) * height * kTileColumns; };
        for (int64_t done = 0; done == 0 || done < depth(k); done += kPieceRows) {
          const int64_t rows = least(kPieceRows, depth(k) - done), row = k + done;
          Ahead ahead(v.as<const float>() + (row + rows) * v.stride[0] + q * kTileColumns, (end - q) * kTileColumns * 4, v.stride[0] * 4, least(kPieceRows, K - row - rows));
          for (int64_t panel = q; panel < end; ++panel) {
            const Tile tile = {chain_of(panel), kTileColumns, 1, done ? Leave::kResume : Leave::kChain};
            const float* const at = of_a + (row - part.k0) * height;
            if ((panel + 1) * kTileColumns <= t.N) {
              along_n(rows, at, v.as<const float>() + row * v.stride[0] + panel * kTileColumns, v.stride[0], nullptr, tile, ahead);
            } else {
              b.pack_panels(lines, panel, panel + 1, row, rows);
              run_kernel(rows, at, lines, tile, ahead);
            }
          }
        }
        for (int64_t panel = q; panel < end; ++panel)
          t.finish(chain_of(panel), m, panel * kTileColumns, least(t.M - m, height), least(t.N - panel * kTileColumns, kTileColumns), k == 0);
      }
  }

  // memory: what packed_floats says. While tiles run they fetch what comes next, each thing when it is soon needed.
  HF_NOINLINE void multiply(const Part& part, float* memory) const {
    alignas(64) float panels[kRunPanels * kTileColumns * kMaxDepth];
    const Kernel run_kernel = kernel_of(height);
    const bool single = part.a1 - part.a0 == 1;
    if (single && !packed_b && b.view.stride[1] == 1 && b.view.dtype == DType::kF32) return multiply_along_n(part, memory);
    const int64_t run_panels = single ? 1 : kRunPanels * kMaxDepth / block, rows = (part.a1 - part.a0) * height;
    const int64_t group = a.view.stride[1] == 1 ? 1 : kPackRows / height;  // rows of A along m are read in long pieces
    for (int64_t q = part.b0; q < part.b1; q += run_panels)
      for (int64_t k = part.k0; k == part.k0 || k < part.k1; k += block) {  // once for K = 0, too
        const int64_t count = depth(k), end = least(q + run_panels, part.b1), panel_floats = height * count;
        float* const packed_a = memory + (k - part.k0) * rows;
        Ahead a_from, a_to, b_next;
        if (k + block < part.k1) b_next = source(q, end, k + block);
        else if (end < part.b1) b_next = source(end, least(end + run_panels, part.b1), part.k0);
        const int64_t lead = b_next.rows * b_next.lines / (count * (end - q) + 1) + 2;
        for (int64_t p = part.a0; p < part.a1; ++p) {
          float* const of_a = packed_a + (p - part.a0) * panel_floats;
          const bool pack = q == part.b0 && (p - part.a0) % group == 0;
          if (pack || q > part.b0) {
            const int64_t next = p + (pack ? group : 1), last = least(next + (pack ? group : 1), part.a1);
            if (pack) a.pack_panels(of_a, p, least(next, part.a1), k, count);
            if (next < last) {
              a_to = {of_a + (next - p) * panel_floats, (last - next) * panel_floats * 4, 0, 1};
              if (pack) a_from = rows_of(next, last, k);
            }
          }
          Ahead nothing;
          for (int64_t panel = q; panel < end; ++panel)
            t.place(p * height, panel * kTileColumns, height, k == 0, [&](const Tile& tile) __attribute__((always_inline)) {
              float* const here = panels + (single ? 0 : panel - q) * kTileColumns * count;
              Ahead& ahead = a_from.rows ? a_from : a_to.rows ? a_to : p + lead >= part.a1 ? b_next : nothing;
              if (packed_b) run_kernel(count, of_a, panel_of(panel, k), tile, ahead);
              else if (p > part.a0) run_kernel(count, of_a, here, tile, ahead);
              else read_tile(panel, k, of_a, here, !single, tile);
            });
        }
      }
  }
  HF_INLINE int64_t packed_floats(const Part& part) const { return (part.a1 - part.a0) * height * (part.k1 - part.k0); }

  void run(Run& r) const {
    const int64_t part_rows = divide_up(panels_a, divide_up(panels_a, kPartFloats / (block * height))), wanted = r.threads > 1 ? 4 * r.threads : 1;
    // So much of A's depth is packed at once: few sections for threads to wait at. All of a single panel: B is read in the order it lies in.
    const int64_t blocks = kPartFloats / (part_rows * height * block), deep = panels_a == 1 ? K : blocks > 1 ? blocks * block : block;
    int64_t k = 0;
    do {
      for (int64_t a0 = 0; a0 < panels_a; a0 += part_rows)
        for (int64_t b0 = 0; b0 < panels_b; b0 += kSlicePanels) {
          const int64_t a1 = least(a0 + part_rows, panels_a), b1 = least(b0 + kSlicePanels, panels_b);
          int64_t row_tasks = wanted;  // of equal size, or the last ones wait
          while (row_tasks > 1 && (wanted % row_tasks || row_tasks * kTaskPanels > a1 - a0)) --row_tasks;
          const int64_t column_tasks = least(wanted / row_tasks, divide_up(b1 - b0, kRunPanels));
          const int64_t per_row = divide_up(a1 - a0, row_tasks), per_column = divide_up(b1 - b0, column_tasks);
          const auto part = [&](int64_t task) __attribute__((always_inline)) {
            const int64_t a = a0 + task % row_tasks * per_row, b = b0 + task / row_tasks * per_column;
            return Part{least(a, a1), least(a + per_row, a1), least(b, b1), least(b + per_column, b1), k, least(k + deep, K)};
          };
          Scratch scratch(r);
          const int64_t each = packed_floats(part(0));
          float* const memory = scratch.allocate<float>(each * row_tasks * column_tasks);
          checkpoint(r);
          parallel_for(r, row_tasks * column_tasks, [&](int64_t task) { multiply(part(task), memory + task * each); });
        }
      k += deep;
    } while (k < K);
  }
};

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

void multiply_packed(const float* a, const float* b, int64_t M, int64_t N, int64_t K, float alpha, bool accumulate, float* c, int64_t row) {
  const Target t = {c, row, M, N, alpha, accumulate, false, nullptr, nullptr, 0};
  const int64_t height = panel_rows(M), panels_a = divide_up(M, height), panels_b = divide_up(N, kTileColumns), block = depth_block(K);
  const Kernel run_kernel = kernel_of(height);
  int64_t k = 0;
  do {
    const int64_t depth = least(block, K - k);
    const float *const of_a = a + panels_a * k * height, *const of_b = b + panels_b * k * kTileColumns;
    Ahead nothing;
    for (int64_t q = 0; q < panels_b; q += kRunPanels)
      for (int64_t p = 0; p < panels_a; ++p)
        for (int64_t panel = q; panel < least(q + kRunPanels, panels_b); ++panel)
          t.place(p * height, panel * kTileColumns, height, k == 0, [&](const Tile& tile) __attribute__((always_inline)) {
            run_kernel(depth, of_a + p * depth * height, of_b + panel * depth * kTileColumns, tile, nothing);
          });
    k += depth;
  } while (k < K);
}

void run(const GemmArgs& g, Run& r) {
  const int64_t M = g.c.shape[0], N = g.c.shape[1];
  if (M == 0 || N == 0) return;
  const Target t = {g.c.as<float>(), g.c.stride[0], M, N, static_cast<float>(g.alpha), g.accumulate, g.triangle == Triangle::kUpper,
                    g.bias.as<const float>(), g.residual.as<const float>(), g.residual.stride[0]};
  Product(t, g.a, g.b, g.packed_b ? packed_panels(g) : nullptr).run(r);
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
