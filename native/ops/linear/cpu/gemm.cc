// C = alpha · A B with epilogues: packed, blocked, threaded (after Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", TOMS 2008). flops 2MKN; a packed copy of kPartFloats of A.
//
//   for each part of A (depth and rows), slice of columns: tasks of columns × rows
//     for each run of column panels, block of depth                    (L2)
//       for each panel of rows (L1), panel of columns: a register tile, B streaming through it
//
// In bf16 math on a processor with AVX512_BF16, all of this holds for words of two bfloat16 in the place of
// floats (pack_pairs.h): depths and panels count words, and every panel is packed before it is multiplied.
//
// A panel of A is packed by the first tile of the first task that comes to it, B by the tiles of each run's
// first panel of A (gemm_tile.h), while the others fetch what will be read next.
//
// An element's sum: one chain of fused multiply-adds in the order of k per depth block, then c = alpha ·
// chain + c. Depth blocks depend on K only. So an element's bits depend on neither M, N, the tile it falls
// into, packed_b nor the number of threads.
#include "ops/linear/cpu/gemm_tile.h"

namespace hf {
bool has_bf16_dot();  // runtime/cpu.h, which uses the C++ library
}

namespace hf::HF_ISA {
namespace {

constexpr int64_t kPartFloats = 1152 * kMaxDepth;  // of A packed at a time: 2.25 MiB
constexpr int64_t kSlicePanels =
    2048 / kTileColumns;                            // between two looks at whether anybody waits: a few 10 ms
constexpr int64_t kRunPanels = 128 / kTileColumns;  // 256 KiB at full depth; twice as many for kManyRows,
                                                    // whose pages in C are visited less often
constexpr int64_t kManyRows = 128;
constexpr int64_t kSliceFloats = int64_t{1}
                                 << 25;  // the same for a single panel of A, of B: less work, longer pieces
constexpr int64_t kLongRun =
    1024 / kTileColumns;  // of B along n, when each panel is read once: kPieceRows pieces of 4 KiB
constexpr int64_t kPieceRows = 32;
constexpr int64_t kFewPanels = 2;   // of A, that are multiplied piece by piece
constexpr int64_t kPackGroup = 8;   // panels per task of gemm_pack
constexpr int64_t kTaskPanels = 8;  // of A per task, at least, and kRunPanels of B

struct PackedHeader {
  char tag[8];
  int64_t tile_columns, depth, columns;
};
constexpr int64_t kHeaderFloats = 16;
static_assert(sizeof(PackedHeader) <= kHeaderFloats * sizeof(float));

// ---- packing ----------------------------------------------------------------------------------------------

// An operand as panels along `w` (rows of A, columns of B) and depth k.
struct Operand {
  View view;
  int w, k;
  int64_t width;
  bool pairs;  // k counts words

  // Panels [first, last) of one depth block, `out` being the block's panel `first`.
  HF_INLINE void pack_panels(float* out, int64_t first, int64_t last, int64_t begin_k,
                             int64_t count_k) const {
    if (view.dtype == DType::kBF16)
      pack_as<uint16_t>(out, first, last, begin_k, count_k);
    else
      pack_as<float>(out, first, last, begin_k, count_k);
  }
  template <class Element>
  HF_INLINE void pack_as(float* out, int64_t first, int64_t last, int64_t begin_k, int64_t count_k) const {
    const int64_t step_w = view.stride[w], step_k = view.stride[k], count_w = view.shape[w];
    if (pairs) {
      const Element* source = view.as<const Element>() + 2 * begin_k * step_k;
      for (int64_t panel = first; panel < last; ++panel, out += width * count_k)
        pack_pairs(out, width, source + panel * width * step_w, step_w, step_k, count_w - panel * width,
                   count_k, view.shape[k] - 2 * begin_k);
      return;
    }
    const Element* source = view.as<const Element>() + begin_k * step_k;
    if (step_w == 1) {
      const auto row = [&](int64_t k)
                           __attribute__((always_inline)) { return source + first * width + k * step_k; };
      return pack_rows(row, count_k, last - first, count_w - first * width, width, out);
    }
    for (int64_t panel = first; panel < last; ++panel, out += width * count_k)
      pack_panel(out, width, source + panel * width * step_w, step_w, step_k, count_w - panel * width,
                 count_k);
  }
  HF_INLINE int64_t panels() const { return divide_up(view.shape[w], width); }
  HF_INLINE int64_t depth() const { return pairs ? divide_up(view.shape[k], 2) : view.shape[k]; }
  // Where panels [first, last) come from at depths [begin_k, begin_k + count_k), for prefetching.
  HF_INLINE Ahead source(int64_t first, int64_t last, int64_t begin_k, int64_t count_k) const {
    const int64_t bytes = dtype_bytes(view.dtype), step_w = view.stride[w], step_k = view.stride[k],
                  unit = pairs ? 2 : 1;
    const int64_t begin = first * width, count = least(last * width, view.shape[w]) - begin;
    const char* const at = view.as<const char>() + (begin_k * unit * step_k + begin * step_w) * bytes;
    if (step_w == 1) return {at, count * bytes, step_k * bytes, count_k * unit};
    if (step_k == 1) return {at, count_k * unit * bytes, step_w * bytes, count};
    return {};
  }
  // float32 only.
  HF_INLINE const float* at(int64_t panel, int64_t begin_k) const {
    return view.as<const float>() + panel * width * view.stride[w] + begin_k * view.stride[k];
  }
};

HF_INLINE Operand operand_a(const View& a, bool pairs) {
  return {a, 0, 1, panel_rows(a.shape[0]), pairs};
}
HF_INLINE Operand operand_b(const View& b, bool pairs) {
  return {b, 1, 0, kTileColumns, pairs};
}

HF_INLINE bool in_pairs(const Run& r) {
  return kHasPairs && r.math == Math::kBf16 && has_bf16_dot();
}

// ---- what surrounds a tile --------------------------------------------------------------------------------

// Where a product goes. Members are what the inner loops need of GemmArgs.
struct Target {
  float* c;
  int64_t row, M, N;
  float alpha;
  bool accumulate, upper;
  const float* bias;      // null or (N)
  const float* residual;  // null or (M,N)
  int64_t residual_row;

  // The tile of `height` rows and kTileColumns at (m, n): multiply(tile) runs a kernel into it. first: on the
  // first depth block, the one with the epilogue.
  template <class Multiply>
  HF_INLINE void place(int64_t m, int64_t n, int64_t height, bool first, const Multiply& multiply) const {
    const int64_t rows = least(M - m, height), columns = least(N - n, kTileColumns);
    if (upper && n + columns <= m) return;
    if (rows == height && columns == kTileColumns && !(upper && n < m + rows - 1) &&
        !(first && (bias || residual))) {
      multiply(Tile{c + m * row + n, row, alpha, first && !accumulate ? Leave::kStore : Leave::kAdd});
    } else {
      alignas(64) float chain[kTileRows * kTileColumns];
      multiply(Tile{chain, kTileColumns, 1, Leave::kChain});
      finish(chain, m, n, rows, columns, first);
    }
  }

  // c = alpha · chain + c, and on the first depth block the epilogue; chain (rows, kTileColumns).
  HF_NOINLINE void finish(const float* chain, int64_t m0, int64_t n0, int64_t rows, int64_t columns,
                          bool first) const {
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
          for (int64_t lane = m - n; lane < kLanes && lane < count; ++lane)
            to[lane] = value[lane];
        } else {
          store_partial(to, value, count);
        }
      }
  }
};

// Where a task's tiles are: panels [a0, a1) of A, beginning with `turn`, [b0, b1) of B, depth from k0 up to
// k1.
struct Part {
  int64_t a0, a1, turn, b0, b1, k0, k1;
};

// The packed panels of A of all tasks of a part, each packed by whichever task first takes it. Nobody waits:
// who finds another one at it packs one for himself.
struct Shelf {
  enum State : uint8_t { kMissing, kTaken, kReady };
  struct Panel {
    float* packed;
    State state;  // kReady, or else to be packed and published: for everybody (kMissing) or for oneself
                  // (kTaken)
  };

  float* memory;
  uint8_t* states;
  int64_t a0, a1, k0, block, height;

  HF_INLINE uint8_t* state(int64_t p, int64_t k) const {
    return states + (k - k0) / block * (a1 - a0) + p - a0;
  }
  HF_INLINE float* place(int64_t p, int64_t k, int64_t depth) const {
    return memory + height * ((a1 - a0) * (k - k0) + (p - a0) * depth);
  }

  HF_INLINE bool ready(int64_t p, int64_t k) const {
    return __atomic_load_n(state(p, k), __ATOMIC_ACQUIRE) == kReady;
  }
  HF_INLINE Panel take(int64_t p, int64_t k, int64_t depth, float* own) const {
    uint8_t seen = __atomic_load_n(state(p, k), __ATOMIC_ACQUIRE);
    if (seen == kMissing &&
        __atomic_compare_exchange_n(state(p, k), &seen, kTaken, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
      return {place(p, k, depth), kMissing};
    return {seen == kReady ? place(p, k, depth) : own, static_cast<State>(seen)};
  }
  HF_INLINE void publish(const Panel& panel, int64_t p, int64_t k) const {
    if (panel.state == kMissing) __atomic_store_n(state(p, k), kReady, __ATOMIC_RELEASE);
  }
};

// A product cut into panels.
struct Product {
  Target t;
  Operand a, b;
  const float* packed_b;  // gemm_pack's panels, or null
  bool pairs;
  int64_t K, block, height, panels_a, panels_b;

  HF_INLINE Product(const Target& target, const View& of_a, const View& of_b, const float* packed,
                    bool in_pairs)
      : t(target),
        a(operand_a(of_a, in_pairs)),
        b(operand_b(of_b, in_pairs)),
        packed_b(packed),
        pairs(in_pairs),
        K(a.depth()),
        block(depth_block(K)),
        height(a.width),
        panels_a(a.panels()),
        panels_b(b.panels()) {}

  HF_INLINE int64_t depth(int64_t k) const { return least(block, K - k); }

  // What tiles of panels [first, last) of B will read at depth k.
  HF_INLINE Ahead source(int64_t first, int64_t last, int64_t k) const {
    if (packed_b && panels_a == 1) return {};  // a stream, which the hardware sees
    if (packed_b) return {panel_of(first, k), (last - first) * kTileColumns * depth(k) * 4, 0, 1};
    return b.source(first, last, k, depth(k));
  }
  HF_INLINE const float* panel_of(int64_t panel, int64_t k) const {
    return packed_b + (panels_b * k + panel * depth(k)) * kTileColumns;
  }

  // A tile that reads B as it lies and leaves the panel in `packed`, if there are more panels of A for it.
  HF_NOINLINE void read_tile(int64_t panel, int64_t k, const float* of_a, float* packed, bool more,
                             const Tile& tile) const {
    const View& v = b.view;
    const int64_t n = panel * kTileColumns, count = depth(k), begin = k * v.stride[0] + n * v.stride[1];
    const bool whole = n + kTileColumns <= t.N;
    Ahead nothing;
    if (whole && v.stride[0] == 1 && !pairs) {
      const int64_t next = halves(height) * kLanes * v.stride[1], turn = more            ? next - count
                                                                         : k + count < K ? 0
                                                                                         : next - K;
      if (v.dtype == DType::kBF16)
        along_k_of<uint16_t>(height)(count, of_a, v.as<const uint16_t>() + begin, v.stride[1],
                                     more ? packed : nullptr, tile, turn);
      else
        along_k_of<float>(height)(count, of_a, v.as<const float>() + begin, v.stride[1],
                                  more ? packed : nullptr, tile, turn);
    } else {
      b.pack_panels(packed, panel, panel + 1, k, count);
      kernel_of(height, pairs)(count, of_a, packed, tile, nothing);
    }
  }

  HF_NOINLINE void pack_panel_of_a(const Shelf& shelf, const Shelf::Panel& panel, int64_t p,
                                   int64_t k) const {
    a.pack_panels(panel.packed, p, p + 1, k, depth(k));
    shelf.publish(panel, p, k);
  }
  HF_INLINE const float* packed_panel(const Shelf& shelf, int64_t p, int64_t k, float* own) const {
    const Shelf::Panel panel = shelf.take(p, k, depth(k), own);
    if (panel.state != Shelf::kReady) pack_panel_of_a(shelf, panel, p, k);
    return panel.packed;
  }

  // Whether kernel_of_a can pack panel p of A.
  HF_INLINE bool packs_under_tile(int64_t p) const {
    return (a.view.stride[0] == 1 || a.view.stride[1] == 1) && a.view.dtype == DType::kF32 &&
           (p + 1) * height <= t.M && !t.upper && !pairs;
  }

  // `few` panels of A from p on and columns [q, end) of B along n at depth k, up to kLongRun panels: a few
  // rows at a time in long pieces, as memory pages lie. B is left packed if somebody will read it again.
  HF_NOINLINE void read_along_n(int64_t p, int64_t few, int64_t q, int64_t end, int64_t k,
                                const float* const* of_a, float* packed) const {
    alignas(64) float chains[kFewPanels * kLongRun * kTileRows * kTileColumns],
        lines[kPieceRows * kTileColumns];
    const Kernel run_kernel = kernel_of(height);
    const AlongN along_n = along_n_of(height);
    const View& v = b.view;
    const int64_t count = depth(k);
    const auto chain_of = [&](int64_t i, int64_t panel) __attribute__((always_inline)) {
      return chains + (i * (end - q) + panel - q) * height * kTileColumns;
    };
    for (int64_t done = 0; done == 0 || done < count; done += kPieceRows) {
      const int64_t rows = least(kPieceRows, count - done), row = k + done;
      Ahead ahead(v.as<const float>() + (row + rows) * v.stride[0] + q * kTileColumns,
                  (end - q) * kTileColumns * 4, v.stride[0] * 4, least(kPieceRows, K - row - rows));
      for (int64_t panel = q; panel < end; ++panel) {
        const auto tile_of = [&](int64_t i) __attribute__((always_inline)) {
          return Tile{chain_of(i, panel), kTileColumns, 1, done ? Leave::kResume : Leave::kChain};
        };
        float* const to = packed ? packed + ((panel - q) * count + done) * kTileColumns : lines;
        const bool whole = (panel + 1) * kTileColumns <= t.N, again = packed || few > 1;
        if (whole)
          along_n(rows, of_a[0] + done * height,
                  v.as<const float>() + row * v.stride[0] + panel * kTileColumns, v.stride[0],
                  again ? to : nullptr, tile_of(0), ahead);
        else
          b.pack_panels(to, panel, panel + 1, row, rows);
        for (int64_t i = whole; i < few; ++i)
          run_kernel(rows, of_a[i] + done * height, to, tile_of(i), ahead);
      }
    }
    for (int64_t i = 0; i < few; ++i)
      for (int64_t panel = q; panel < end; ++panel) {
        const int64_t m = (p + i) * height, n = panel * kTileColumns;
        t.finish(chain_of(i, panel), m, n, least(t.M - m, height), least(t.N - n, kTileColumns), k == 0);
      }
  }

  // While tiles run they fetch what comes next, each thing when it is soon needed.
  HF_NOINLINE void multiply(const Part& part, const Shelf& shelf) const {
    alignas(64) float run_of_b[2 * kRunPanels * kTileColumns * kMaxDepth],
        own[kFewPanels * kTileRows * kMaxDepth];
    const Kernel run_kernel = kernel_of(height, pairs);
    const bool a_along_k = a.view.stride[1] == 1;
    const OfA of_a = a_along_k ? of_a_of<true>(height) : of_a_of<false>(height);
    const int64_t panels = part.a1 - part.a0;
    const bool single = panels == 1,
               along_n = !packed_b && b.view.stride[1] == 1 && b.view.dtype == DType::kF32 && !pairs;
    const int64_t run_panels = along_n && panels <= kFewPanels ? kLongRun
                               : single
                                   ? 1
                                   : (panels * height < kManyRows ? 1 : 2) * kRunPanels * kMaxDepth / block;
    const auto panel_at = [&](int64_t i)
                              __attribute__((always_inline)) { return part.a0 + (part.turn + i) % panels; };
    for (int64_t q = part.b0; q < part.b1; q += run_panels)
      for (int64_t k = part.k0; k == part.k0 || k < part.k1; k += block) {  // once for K = 0, too
        const int64_t count = depth(k), end = least(q + run_panels, part.b1);
        if (along_n && panels <= kFewPanels) {
          const float* of_few[kFewPanels];
          for (int64_t i = 0; i < panels; ++i)
            of_few[i] = packed_panel(shelf, part.a0 + i, k, own + i * kTileRows * kMaxDepth);
          read_along_n(part.a0, panels, q, end, k, of_few, nullptr);
          continue;
        }
        Ahead b_next;
        if (k + block < part.k1)
          b_next = source(q, end, k + block);
        else if (end < part.b1)
          b_next = source(end, least(end + run_panels, part.b1), part.k0);
        const int64_t lead = b_next.rows * b_next.lines / (count * (end - q) + 1) + 2;
        for (int64_t i = 0; i < panels; ++i) {
          const int64_t p = panel_at(i);
          const bool reads_b = !packed_b && i == 0;
          const Shelf::Panel rows = shelf.take(p, k, count, own);
          const bool missing = rows.state != Shelf::kReady,
                     reads_a = missing && !reads_b && packs_under_tile(p);
          if (missing && !reads_a) pack_panel_of_a(shelf, rows, p, k);
          Ahead a_from, a_to, nothing;
          if (i + 1 < panels) {
            const int64_t next = panel_at(i + 1);
            if (!shelf.ready(next, k)) a_from = a.source(next, next + 1, k, count);
            a_to = {shelf.place(next, k, count), height * count * 4, 0, 1};
          }
          const auto b_at = [&](int64_t panel) __attribute__((always_inline)) {
            return run_of_b + (single ? 0 : panel - q) * kTileColumns * count;
          };
          if (reads_b && along_n) {
            for (int64_t panel = q; panel < end; panel += kLongRun)
              read_along_n(p, 1, panel, least(panel + kLongRun, end), k, &rows.packed, b_at(panel));
            continue;
          }
          for (int64_t panel = q; panel < end; ++panel)
            t.place(p * height, panel * kTileColumns, height, k == 0,
                    [&](const Tile& tile) __attribute__((always_inline)) {
              const float* const columns = packed_b ? panel_of(panel, k) : b_at(panel);
              Ahead& ahead = a_from.rows ? a_from : a_to.rows ? a_to : i + lead >= panels ? b_next : nothing;
              if (reads_b) return read_tile(panel, k, rows.packed, b_at(panel), !single, tile);
              if (!reads_a || panel > q) return run_kernel(count, rows.packed, columns, tile, ahead);
              of_a(count, a.at(p, k), a.view.stride[a_along_k ? 0 : 1], rows.packed, columns, tile);
              shelf.publish(rows, p, k);
            });
        }
      }
  }

  void run(Run& r) const {
    const int64_t part_rows = divide_up(panels_a, divide_up(panels_a, kPartFloats / (block * height))),
                  wanted = r.threads > 1 ? (panels_a > 1 ? 4 : 2) * r.threads : 1;
    // So much of A's depth is packed at once: few sections for threads to wait at. All of a single panel: B
    // is read in the order it lies in.
    const int64_t blocks = kPartFloats / (part_rows * height * block), deep = panels_a == 1 ? K
                                                                              : blocks > 1  ? blocks * block
                                                                                            : block;
    int64_t k = 0;
    do {
      const int64_t k1 = least(k + deep, K);
      for (int64_t a0 = 0; a0 < panels_a; a0 += part_rows) {
        const int64_t a1 = least(a0 + part_rows, panels_a),
                      states = (a1 - a0) * (k1 > k ? divide_up(k1 - k, block) : 1);
        Scratch scratch(r);
        const Shelf shelf = {scratch.allocate<float>((a1 - a0) * height * (k1 - k)),
                             scratch.allocate<uint8_t>(states),
                             a0,
                             a1,
                             k,
                             block,
                             height};
        if (r.counting) return;  // the first part is the largest
        __builtin_memset(shelf.states, Shelf::kMissing, static_cast<size_t>(states));
        const int64_t slice = panels_a > 1
                                  ? kSlicePanels / (pairs ? 2 : 1)
                                  : least(kSliceFloats / (kTileColumns * (K + 1)) + 1, 8 * kSlicePanels);
        for (int64_t b0 = 0; b0 < panels_b; b0 += slice) {
          const int64_t b1 = least(b0 + slice, panels_b);
          // Columns first: then B is packed once. Tasks of equal size, or the last ones wait, if that leaves
          // something to do for every thread.
          const int64_t most_columns = divide_up(b1 - b0, kRunPanels), most_rows = (a1 - a0) / kTaskPanels;
          int64_t column_tasks = shares(wanted, most_columns),
                  row_tasks = shares(wanted / column_tasks, most_rows);
          if (column_tasks * row_tasks < r.threads) {
            column_tasks = least(wanted, most_columns);
            row_tasks = most_rows ? least(divide_up(wanted, column_tasks), most_rows) : 1;
          }
          const int64_t per_row = divide_up(a1 - a0, row_tasks),
                        per_column = divide_up(b1 - b0, column_tasks);
          row_tasks = divide_up(a1 - a0, per_row),
          column_tasks = divide_up(b1 - b0, per_column);  // none of them empty
          checkpoint(r);
          parallel_for(r, row_tasks * column_tasks, [&](int64_t task) {
            const int64_t a = a0 + task / column_tasks * per_row, b = b0 + task % column_tasks * per_column,
                          end = least(a + per_row, a1);
            // Threads that go through the same rows begin apart, so that each finds packed what the other
            // left. A triangle's first rows reach every column that the others do: they have to be first.
            const int64_t turn = t.upper ? 0 : (end - a) * task / (row_tasks * column_tasks),
                          reached = t.upper ? a * height / kTileColumns : b;
            multiply({a, end, turn, reached > b ? reached : b, least(b + per_column, b1), k, k1}, shelf);
          });
        }
      }
      k += deep;
    } while (k < K);
  }
  // The greatest divisor of `wanted` up to `most`.
  HF_INLINE static int64_t shares(int64_t wanted, int64_t most) {
    int64_t count = wanted;
    while (count > 1 && (wanted % count || count > most))
      --count;
    return count;
  }
};

PackedHeader header_of(const View& b, bool pairs) {
  return {{'h', 'f', ' ', 'g', 'e', 'm', 'm', pairs ? '2' : '1'}, kTileColumns, b.shape[0], b.shape[1]};
}

const float* packed_panels(const GemmArgs& g, bool pairs) {
  const int64_t K = g.b.shape[0], N = g.b.shape[1];
  const PackedHeader header = header_of(g.b, pairs);
  HF_CHECK(
      g.packed_b.bytes() >= gemm_packed_bytes(K, N) &&
          !__builtin_memcmp(g.packed_b.data, &header, sizeof header),
      ErrorCode::kInvalidArg,
      "gemm: packed_b was not made by gemm_pack on this backend, in this math, from a matrix of %lld x %lld; pack it again",
      static_cast<long long>(K), static_cast<long long>(N));
  return g.packed_b.as<const float>() + kHeaderFloats;
}

}  // namespace

void multiply_packed(const float* a, const float* b, int64_t M, int64_t N, int64_t K, float alpha,
                     bool accumulate, float* c, int64_t row) {
  const Target t = {c, row, M, N, alpha, accumulate, false, nullptr, nullptr, 0};
  const int64_t height = panel_rows(M), panels_a = divide_up(M, height),
                panels_b = divide_up(N, kTileColumns), block = depth_block(K);
  const Kernel run_kernel = kernel_of(height);
  int64_t k = 0;
  do {
    const int64_t depth = least(block, K - k);
    const float *const of_a = a + panels_a * k * height, *const of_b = b + panels_b * k * kTileColumns;
    Ahead nothing;
    for (int64_t q = 0; q < panels_b; q += kRunPanels)
      for (int64_t p = 0; p < panels_a; ++p)
        for (int64_t panel = q; panel < least(q + kRunPanels, panels_b); ++panel)
          t.place(p * height, panel * kTileColumns, height, k == 0,
                  [&](const Tile& tile) __attribute__((always_inline)) {
            run_kernel(depth, of_a + p * depth * height, of_b + panel * depth * kTileColumns, tile, nothing);
          });
    k += depth;
  } while (k < K);
}

void run(const GemmArgs& g, Run& r) {
  const int64_t M = g.c.shape[0], N = g.c.shape[1];
  if (M == 0 || N == 0) return;
  const Target t = {g.c.as<float>(),
                    g.c.stride[0],
                    M,
                    N,
                    static_cast<float>(g.alpha),
                    g.accumulate,
                    g.triangle == Triangle::kUpper,
                    g.bias.as<const float>(),
                    g.residual.as<const float>(),
                    g.residual.stride[0]};
  const bool pairs = in_pairs(r);
  Product(t, g.a, g.b, g.packed_b ? packed_panels(g, pairs) : nullptr, pairs).run(r);
}

void run(const GemmPackArgs& g, Run& r) {
  const bool pairs = in_pairs(r);
  const PackedHeader header = header_of(g.b, pairs);
  __builtin_memcpy(g.packed.data, &header, sizeof header);
  float* const out = g.packed.as<float>() + kHeaderFloats;
  const Operand operand = operand_b(g.b, pairs);
  const int64_t K = operand.depth(), block = depth_block(K), panels = operand.panels();
  parallel_for(r, divide_up(panels, kPackGroup), [&](int64_t task) {
    const int64_t p0 = task * kPackGroup, p1 = least(p0 + kPackGroup, panels);
    for (int64_t k = 0; k < K; k += block) {
      const int64_t depth = least(block, K - k);
      operand.pack_panels(out + (panels * k + p0 * depth) * kTileColumns, p0, p1, k, depth);
    }
  });
}

}  // namespace hf::HF_ISA
