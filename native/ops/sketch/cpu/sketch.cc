// R is made a block of columns at a time and multiplied by the GEMM: right factors q = R₂ a of every row of
// a, then left factors p = R₁ d of some rows at a time; a task adds up p qᵀ of one function.
#include "ops/gram/cpu/gram_pairs.h"
#include "ops/gram/gram_blocks.h"
#include "ops/sketch/projection.h"

namespace hf::HF_ISA {
namespace {

struct Random {
  uint64_t seed, stream;
  Projection projection;

  // Entries [0, count) of a column.
  HF_NOINLINE void column(int64_t c, int64_t count, float* out) const {
    if (projection == Projection::kGaussian) {
      for (int64_t e = 0; e < count; e += 2) {
        const GaussianPair pair = gaussian_entries(seed, stream, c, e / 2);
        out[e] = float(pair.even);
        if (e + 1 < count) out[e + 1] = float(pair.odd);
      }
      return;
    }
    for (int64_t e = 0; e < count; e += 128) {
      const Philox4 bits = rademacher_bits(seed, stream, c, e / 128);
      for (int64_t k = 0; k < 128 && e + k < count; ++k)
        out[e + k] = (bits.v[k / 32] >> (k % 32)) & 1 ? 1.0f : -1.0f;
    }
  }
};

// out (rows, count) = x (rows, columns) Rᵀ, R's columns from `first` on; `constant`: plus column `columns` of
// R.
HF_NOINLINE void project(const View& x, const Random& random, int64_t first, bool constant, float* out,
                         int64_t rows, int64_t count, float* block, Run& r) {
  const int64_t columns = x ? x.shape[1] : 0;
  if (constant) random.column(columns, count, block);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t e = 0; e < count; ++e)
      out[n * count + e] = constant ? block[e] : 0.0f;
  for (int64_t c = 0; c < columns; c += kSketchColumns) {
    const int64_t width = columns - c < kSketchColumns ? columns - c : kSketchColumns;
    parallel_for(r, width, [&](int64_t k) { random.column(first + c + k, count, block + k * count); });
    GemmArgs g;
    g.a = x.slice(1, c, width), g.b = make_view(block, DType::kF32, width, count),
    g.c = make_view(out, DType::kF32, rows, count);
    g.accumulate = true;
    run(g, r);
  }
}

}  // namespace

void run(const SketchArgs& args, Run& r) {
  const View& out = args.sketches;
  const int64_t rows = sketch_rows(args), functions = args.offsets.shape[0] - 1, repeats = out.shape[1],
                left = args.left, right = out.shape[2] / left;
  if (rows == 0 || functions == 0) return;
  const int32_t *const offsets = args.offsets.as<int32_t>(), *const a_rows = args.a_rows.as<int32_t>();
  const int64_t entries1 = repeats * left, entries2 = repeats * right, rows2 = args.a ? args.a.shape[0] : 1;
  const int64_t at_once = rows < kSketchRows ? rows : kSketchRows;
  const Random random1 = {uint64_t(args.seed), 2 * uint64_t(args.stream), args.projection},
               random2 = {uint64_t(args.seed), 2 * uint64_t(args.stream) + 1, args.projection};
  Scratch scratch(r);
  float* const block = scratch.allocate<float>(kSketchColumns * (entries1 > entries2 ? entries1 : entries2));
  float* const q = scratch.allocate<float>(rows2 * entries2);
  float* const p = scratch.allocate<float>(at_once * entries1);
  if (r.counting) return;
  project(args.a, random2, 0, args.bias || !args.a, q, rows2, entries2, block, r);
  const float scale = static_cast<float>(1 / __builtin_sqrt(double(left * right)));

  for (int64_t n0 = 0; n0 < rows; n0 += at_once) {
    const int64_t n1 = n0 + at_once < rows ? n0 + at_once : rows;
    checkpoint(r);
    if (args.ids)
      parallel_for(r, n1 - n0, [&](int64_t n) {
        random1.column(args.first_column + args.ids.as<int32_t>()[n0 + n], entries1, p + n * entries1);
      });
    else
      project(args.d.slice(0, n0, n1 - n0), random1, args.first_column, false, p, n1 - n0, entries1, block,
              r);
    parallel_for(r, functions, [&](int64_t s) {
      const int64_t begin = offsets[s] > n0 ? offsets[s] : n0,
                    end = offsets[s + 1] < n1 ? offsets[s + 1] : n1;
      for (int64_t n = begin; n < end; ++n) {
        const float* const qn = q + (args.a ? (a_rows ? a_rows[n] : n) : 0) * entries2;
        for (int64_t repeat = 0; repeat < repeats; ++repeat) {
          float* const sketch = out.as<float>() + s * out.stride[0] + repeat * out.stride[1];
          for (int64_t i = 0; i < left; ++i) {
            const Floats pi = broadcast(p[(n - n0) * entries1 + repeat * left + i] * scale);
            for (int64_t j = 0; j < right; j += kLanes) {
              float* const to = sketch + i * right + j;
              store_partial(
                  to, pi * load_partial(qn + repeat * right + j, right - j) + load_partial(to, right - j),
                  right - j);
            }
          }
        }
      }
    });
  }
}

}  // namespace hf::HF_ISA
