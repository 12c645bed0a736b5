// A product cut into panels, and the work of one task on it.
#pragma once

#include "ops/linear/cpu/gemm_operand.h"
#include "ops/linear/cpu/gemm_shelf.h"
#include "ops/linear/cpu/gemm_target.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kFewPanels = 2;                   // of A, that are multiplied piece by piece of B
constexpr int64_t kPieceRows = 32;                  // rows of such a piece
constexpr int64_t kLongRun = 1024 / kTileColumns;   // panels of B along n when each is read once: 4 KiB a row
constexpr int64_t kRunPanels = 128 / kTileColumns;  // panels of B that are kept packed: 256 KiB at full depth
constexpr int64_t kManyRows = 128;  // from here on twice as many, so that C's pages are visited less often

// Where a task's tiles are: panels [a0, a1) of A, beginning with the one `turn` further, panels [b0, b1) of
// B, and depth from k0 up to k1.
struct Part {
  int64_t a0;
  int64_t a1;
  int64_t turn;
  int64_t b0;
  int64_t b1;
  int64_t k0;
  int64_t k1;

  HF_INLINE int64_t panels() const { return a1 - a0; }
  HF_INLINE int64_t panel(int64_t i) const { return a0 + (turn + i) % panels(); }
};

// A run of panels [q, end) of B at depth k, which goes past the panels of A.
struct RunOfB {
  int64_t q;
  int64_t end;
  int64_t k;
  int64_t count;  // of depth
};

struct Product {
  Target target;
  Operand a;
  Operand b;
  const float* packed_b;  // gemm_pack's panels, or null
  bool pairs;
  int64_t K;
  int64_t block;   // of depth
  int64_t height;  // of a panel of A
  int64_t panels_a;
  int64_t panels_b;

  HF_INLINE Product(const Target& to, const View& of_a, const View& of_b, const float* packed, bool in_pairs)
      : target(to),
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

  // Whether B lies along n and is read as it lies.
  HF_INLINE bool reads_along_n() const {
    return !packed_b && b.view.stride[1] == 1 && b.view.dtype == DType::kF32 && !pairs;
  }
  HF_INLINE const float* panel_of(int64_t panel, int64_t k) const {
    return packed_b + (panels_b * k + panel * depth(k)) * kTileColumns;
  }
  // What tiles of panels [first, last) of B will read at depth k.
  HF_INLINE Ahead source(int64_t first, int64_t last, int64_t k) const {
    if (packed_b && panels_a == 1) return {};  // a stream, which the hardware sees
    if (packed_b) return {panel_of(first, k), (last - first) * kTileColumns * depth(k) * 4, 0, 1};
    return b.source(first, last, k, depth(k));
  }

  // ---- panels of A ----------------------------------------------------------------------------------------

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
  // Whether a tile can pack panel p of A (kernel_of_a).
  HF_INLINE bool packs_under_tile(int64_t p) const {
    const bool in_rows_or_columns = a.view.stride[0] == 1 || a.view.stride[1] == 1;
    const bool is_whole = (p + 1) * height <= target.M;
    return in_rows_or_columns && a.view.dtype == DType::kF32 && is_whole && !target.upper && !pairs;
  }

  // ---- tiles that read B as it lies -----------------------------------------------------------------------

  // A tile that reads B as it lies and leaves the panel in `packed`, if there are more panels of A for it.
  HF_NOINLINE void read_tile(int64_t panel, int64_t k, const float* of_a, float* packed, bool more,
                             const Tile& tile) const {
    const View& v = b.view;
    const int64_t n = panel * kTileColumns;
    const int64_t count = depth(k);
    const bool is_whole = n + kTileColumns <= target.N;
    if (!(is_whole && v.stride[0] == 1 && !pairs)) {
      Ahead nothing;
      b.pack_panels(packed, panel, panel + 1, k, count);
      packed_kernel(height, pairs)(count, of_a, packed, tile, nothing);
      return;
    }
    // Columns along k. What is read after this panel: the next panel at the same depth if there are more
    // panels of A, else what follows in the same columns, and at their end the next panel's begin.
    const int64_t next_columns = halves(height) * kLanes * v.stride[1];
    const int64_t after = k + count < K ? 0 : next_columns - K;
    const int64_t turn = more ? next_columns - count : after;
    const int64_t begin = k * v.stride[0] + n * v.stride[1];
    float* const left_packed = more ? packed : nullptr;
    if (v.dtype == DType::kBF16)
      kernel_along_k_bf16(height)(count, of_a, v.as<const uint16_t>() + begin, v.stride[1], left_packed, tile,
                                  turn);
    else
      kernel_along_k(height)(count, of_a, v.as<const float>() + begin, v.stride[1], left_packed, tile, turn);
  }

  // `few` panels of A from p on and the columns of a run of up to kLongRun panels of B, rows along n: a few
  // rows at a time in long pieces, as memory pages lie. B is left in `packed` if somebody will read it again.
  HF_NOINLINE void read_along_n(int64_t p, int64_t few, const RunOfB& run, const float* const* of_a,
                                float* packed) const {
    alignas(64) float chains[kFewPanels * kLongRun * kTileRows * kTileColumns];
    alignas(64) float lines[kPieceRows * kTileColumns];
    const Packed run_kernel = packed_kernel(height, false);
    const AlongN along_n = kernel_along_n(height);
    const View& v = b.view;
    const int64_t q = run.q, end = run.end, k = run.k, count = run.count;
    const int64_t panels = end - q;
    const auto chain_of = [&](int64_t i, int64_t panel) __attribute__((always_inline)) {
      return chains + (i * panels + panel - q) * height * kTileColumns;
    };
    for (int64_t done = 0; done == 0 || done < count; done += kPieceRows) {
      const int64_t rows = least(kPieceRows, count - done);
      const int64_t row = k + done;
      const int64_t next_row = row + rows;
      Ahead ahead(v.as<const float>() + next_row * v.stride[0] + q * kTileColumns, panels * kTileColumns * 4,
                  v.stride[0] * 4, least(kPieceRows, K - next_row));
      for (int64_t panel = q; panel < end; ++panel) {
        const auto tile_of = [&](int64_t i) __attribute__((always_inline)) {
          return Tile{chain_of(i, panel), kTileColumns, 1, done ? Leave::kResume : Leave::kChain};
        };
        float* const to = packed ? packed + ((panel - q) * count + done) * kTileColumns : lines;
        const bool is_whole = (panel + 1) * kTileColumns <= target.N;
        const bool read_again = packed || few > 1;
        if (is_whole) {
          const float* const from = v.as<const float>() + row * v.stride[0] + panel * kTileColumns;
          along_n(rows, of_a[0] + done * height, from, v.stride[0], read_again ? to : nullptr, tile_of(0),
                  ahead);
        } else {
          b.pack_panels(to, panel, panel + 1, row, rows);
        }
        for (int64_t i = is_whole; i < few; ++i)
          run_kernel(rows, of_a[i] + done * height, to, tile_of(i), ahead);
      }
    }
    for (int64_t i = 0; i < few; ++i)
      for (int64_t panel = q; panel < end; ++panel) {
        const int64_t m = (p + i) * height;
        const int64_t n = panel * kTileColumns;
        target.finish(chain_of(i, panel), m, n, least(target.M - m, height),
                      least(target.N - n, kTileColumns), k == 0);
      }
  }

  // ---- a task ---------------------------------------------------------------------------------------------

  // How many panels of B a task takes at a time.
  HF_INLINE int64_t panels_of_run(int64_t panels) const {
    if (reads_along_n() && panels <= kFewPanels) return kLongRun;
    if (panels == 1) return 1;
    const int64_t full_depth = (panels * height < kManyRows ? 1 : 2) * kRunPanels;
    return full_depth * kMaxDepth / block;
  }

  // The run of B that follows this one, for prefetching.
  HF_INLINE Ahead next_run(const Part& part, const RunOfB& run, int64_t run_panels) const {
    if (run.k + block < part.k1) return source(run.q, run.end, run.k + block);
    if (run.end < part.b1) return source(run.end, least(run.end + run_panels, part.b1), part.k0);
    return {};
  }

  // All tiles of a part. While tiles run they fetch what comes next, each thing when it is soon needed.
  HF_NOINLINE void multiply(const Part& part, const Shelf& shelf) const {
    alignas(64) float run_of_b[2 * kRunPanels * kTileColumns * kMaxDepth];
    alignas(64) float own[kFewPanels * kTileRows * kMaxDepth];
    const int64_t panels = part.panels();
    const bool few_along_n = reads_along_n() && panels <= kFewPanels;
    const int64_t run_panels = panels_of_run(panels);
    for (int64_t q = part.b0; q < part.b1; q += run_panels)
      for (int64_t k = part.k0; k == part.k0 || k < part.k1; k += block) {  // once for K = 0, too
        const RunOfB run = {q, least(q + run_panels, part.b1), k, depth(k)};
        if (few_along_n) {
          const float* of_few[kFewPanels];
          for (int64_t i = 0; i < panels; ++i)
            of_few[i] = packed_panel(shelf, part.a0 + i, k, own + i * kTileRows * kMaxDepth);
          read_along_n(part.a0, panels, run, of_few, nullptr);
        } else {
          multiply_run(part, shelf, run, next_run(part, run, run_panels), run_of_b, own);
        }
      }
  }

  // All panels of A of a part against a run of B. The first of them reads B and leaves it in run_of_b.
  HF_INLINE void multiply_run(const Part& part, const Shelf& shelf, const RunOfB& run, Ahead b_next,
                              float* run_of_b, float* own) const {
    const int64_t q = run.q, end = run.end, k = run.k, count = run.count;
    const Packed run_kernel = packed_kernel(height, pairs);
    const bool a_along_k = a.view.stride[1] == 1;
    const OfA of_a = kernel_of_a(height, a_along_k);
    const int64_t panels = part.panels();
    const bool single = panels == 1;
    // So many panels of A before the end, tiles begin to fetch the next run.
    const int64_t lead = b_next.rows * b_next.lines / (count * (end - q) + 1) + 2;
    const auto b_at = [&](int64_t panel) __attribute__((always_inline)) {
      return run_of_b + (single ? 0 : panel - q) * kTileColumns * count;
    };
    for (int64_t i = 0; i < panels; ++i) {
      const int64_t p = part.panel(i);
      const bool reads_b = !packed_b && i == 0;
      const Shelf::Panel rows = shelf.take(p, k, count, own);
      const bool missing = rows.state != Shelf::kReady;
      const bool reads_a = missing && !reads_b && packs_under_tile(p);
      if (missing && !reads_a) pack_panel_of_a(shelf, rows, p, k);
      if (reads_b && reads_along_n()) {
        for (int64_t panel = q; panel < end; panel += kLongRun) {
          const RunOfB piece = {panel, least(panel + kLongRun, end), k, count};
          read_along_n(p, 1, piece, &rows.packed, b_at(panel));
        }
        continue;
      }
      // What tiles fetch meanwhile: the next panel of A from where it lies, then where it will be packed.
      Ahead a_from;
      Ahead a_to;
      Ahead nothing;
      if (i + 1 < panels) {
        const int64_t next = part.panel(i + 1);
        if (!shelf.ready(next, k)) a_from = a.source(next, next + 1, k, count);
        a_to = {shelf.place(next, k, count), height * count * 4, 0, 1};
      }
      for (int64_t panel = q; panel < end; ++panel)
        target.place(p * height, panel * kTileColumns, height, k == 0,
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
};

}  // namespace
}  // namespace hf::HF_ISA
