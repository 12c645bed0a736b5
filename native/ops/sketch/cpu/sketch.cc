// Random projections of per-sample gradients (ops/sketch/sketch.h). The random matrices are made a block of
// columns at a time and multiplied by the GEMM: first the right factors q = R₂ a of every row of a, then the
// left factors p = R₁ d of some rows at a time. Then a task owns one function and adds up p qᵀ.
#include "ops/gram/cpu/gram_pairs.h"
#include "ops/sketch/cpu/scratch.h"
#include "ops/sketch/projection.h"

namespace hf::HF_ISA {
namespace {

// One of the random matrices.
struct RandomMatrix {
  uint64_t seed;
  uint64_t stream;
  Projection projection;

  // Entries [0, count) of column c.
  HF_NOINLINE void column(int64_t c, int64_t count, float* out) const {
    if (projection == Projection::kGaussian)
      gaussian_column(c, count, out);
    else
      rademacher_column(c, count, out);
  }

 private:
  HF_INLINE void gaussian_column(int64_t c, int64_t count, float* out) const {
    for (int64_t e = 0; e < count; e += 2) {
      const GaussianPair pair = gaussian_entries(seed, stream, c, e / 2);
      out[e] = float(pair.even);
      if (e + 1 < count) out[e + 1] = float(pair.odd);
    }
  }
  HF_INLINE void rademacher_column(int64_t c, int64_t count, float* out) const {
    for (int64_t e = 0; e < count; e += 128) {
      const Philox4 bits = rademacher_bits(seed, stream, c, e / 128);
      for (int64_t k = 0; k < 128 && e + k < count; ++k) {
        const bool is_set = (bits.v[k / 32] >> (k % 32)) & 1;
        out[e + k] = is_set ? 1.0f : -1.0f;
      }
    }
  }
};

// out (rows, count) = x (rows, columns) Rᵀ, with R's columns from `first` on. constant: plus column `columns`
// of R, as if x had one more entry, 1. `block` has kSketchColumns · count numbers.
HF_NOINLINE void project(const View& x, const RandomMatrix& random, int64_t first, bool constant, float* out,
                         int64_t rows, int64_t count, float* block, Run& r) {
  const int64_t columns = x ? x.shape[1] : 0;
  if (constant) random.column(columns, count, block);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t e = 0; e < count; ++e)
      out[n * count + e] = constant ? block[e] : 0.0f;
  for (int64_t c = 0; c < columns; c += kSketchColumns) {
    const int64_t width = least(columns - c, kSketchColumns);
    parallel_for(r, width, [&](int64_t k) { random.column(first + c + k, count, block + k * count); });
    GemmArgs product;
    product.a = x.slice(1, c, width);
    product.b = make_view(block, DType::kF32, width, count);
    product.c = make_view(out, DType::kF32, rows, count);
    product.accumulate = true;
    run(product, r);
  }
}

}  // namespace

void run(const SketchArgs& args, Run& r) {
  const View& out = args.sketches;
  const int64_t rows = sketch_rows(args);
  const int64_t functions = args.offsets.shape[0] - 1;
  if (rows == 0 || functions == 0) return;
  const cpu::SketchSizes sizes(args);
  const int64_t repeats = out.shape[1];
  const int64_t left = args.left;
  const int64_t right = out.shape[2] / left;
  const int32_t* const offsets = args.offsets.as<int32_t>();
  const int32_t* const a_rows = args.a_rows.as<int32_t>();
  const uint64_t seed = uint64_t(args.seed);
  const uint64_t stream = uint64_t(args.stream);
  const RandomMatrix random1 = {seed, 2 * stream, args.projection};
  const RandomMatrix random2 = {seed, 2 * stream + 1, args.projection};
  const float scale = static_cast<float>(1 / __builtin_sqrt(double(left * right)));
  Scratch scratch(r);
  float* const block = scratch.allocate<float>(sizes.block());
  float* const q = scratch.allocate<float>(sizes.right_factors());
  float* const p = scratch.allocate<float>(sizes.left_factors());
  project(args.a, random2, 0, args.bias || !args.a, q, sizes.a_rows, sizes.right, block, r);

  for (int64_t n0 = 0; n0 < rows; n0 += sizes.rows) {
    const int64_t n1 = least(n0 + sizes.rows, rows);
    checkpoint(r);
    if (args.ids) {
      const int32_t* const ids = args.ids.as<int32_t>() + n0;
      parallel_for(r, n1 - n0, [&](int64_t n) {
        random1.column(args.first_column + ids[n], sizes.left, p + n * sizes.left);
      });
    } else {
      project(args.d.slice(0, n0, n1 - n0), random1, args.first_column, false, p, n1 - n0, sizes.left, block,
              r);
    }
    parallel_for(r, functions, [&](int64_t s) {
      const int64_t begin = greatest(offsets[s], n0);
      const int64_t end = least(offsets[s + 1], n1);
      for (int64_t n = begin; n < end; ++n) {
        const int64_t a_row = !args.a ? 0 : a_rows ? a_rows[n] : n;
        const float* const qn = q + a_row * sizes.right;
        const float* const pn = p + (n - n0) * sizes.left;
        for (int64_t repeat = 0; repeat < repeats; ++repeat) {
          float* const sketch = out.as<float>() + s * out.stride[0] + repeat * out.stride[1];
          for (int64_t i = 0; i < left; ++i) {
            const Floats pi = broadcast(pn[repeat * left + i] * scale);
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
