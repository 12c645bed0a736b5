// Random projections of per-sample gradients. The random matrix R is made 512 columns at a time, a block 256
// threads of it: a warp makes 128 signs from one Philox number, or a thread a pair of normal numbers. gemm
// multiplies by it, and outer_products adds p qᵀ up for every function and repeat. No shared memory here.
// Compute bound: 2 N R (A O + B I + K) operations.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/cuda/outer_products.h"
#include "backends/cuda/rows.h"
#include "ops/gram/gram_blocks.h"
#include "ops/sketch/projection.h"

namespace hf::cuda {
namespace {

struct Random {
  uint64_t seed, stream;
  bool gaussian;
};

// Entries 0 … count − 1 of columns first + k (or ids[k]) into out[k, :].
HF_KERNEL __launch_bounds__(kThreads) random_kernel(Random random, int64_t first, const int32_t* ids,
                                                    int64_t columns, int64_t count, float* out) {
  const int64_t per_column = random.gaussian ? (count + 1) / 2 : (count + 127) / 128 * kWarp;  // threads
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x, k = i / per_column, part = i % per_column;
  if (k >= columns) return;
  const uint64_t column = uint64_t(first) + uint64_t(ids ? ids[k] : k);
  if (random.gaussian) {
    const GaussianPair pair = gaussian_entries(random.seed, random.stream, column, uint64_t(part));
    out[k * count + 2 * part] = static_cast<float>(pair.even);
    if (2 * part + 1 < count) out[k * count + 2 * part + 1] = static_cast<float>(pair.odd);
    return;
  }
  const Philox4 bits = rademacher_bits(random.seed, random.stream, column, uint64_t(part / kWarp));
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    const int64_t e = part / kWarp * 128 + word * 32 + part % kWarp;
    if (e < count) out[k * count + e] = bits.v[word] >> (part % kWarp) & 1 ? 1.0f : -1.0f;
  }
}

void make_columns(const Random& random, int64_t first, const int32_t* ids, int64_t columns, int64_t count,
                  float* out, Stream& stream) {
  const int64_t threads = columns * (random.gaussian ? (count + 1) / 2 : (count + 127) / 128 * kWarp);
  launch("sketch", random_kernel, dim3(blocks(threads, kThreads)), kThreads, 0, stream, random, first, ids,
         columns, count, out);
}

// The row, or zeros where it is null, `rows` times. A thread owns a number.
HF_KERNEL __launch_bounds__(kThreads)
    repeat_row_kernel(const float* row, int64_t rows, int64_t count, float* out) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < rows * count) out[i] = row ? row[i % count] : 0.0f;
}

// out (rows, count) = x (rows, columns) Rᵀ with R's columns from `first` on; with `constant`, plus column
// `columns` of R. x may be absent.
void project(const View& x, const Random& random, int64_t first, bool constant, float* out, int64_t rows,
             int64_t count, Run& r) {
  Stream& stream = stream_of(r);
  Scratch scratch(r);
  const int64_t columns = x ? x.shape[1] : 0;
  float* block = device_scratch<float>(r, std::min(kSketchColumns, std::max<int64_t>(columns, 1)) * count);
  if (constant) make_columns(random, columns, nullptr, 1, count, block, stream);
  launch("sketch", repeat_row_kernel, dim3(blocks(rows * count, kThreads)), kThreads, 0, stream,
         static_cast<const float*>(constant ? block : nullptr), rows, count, out);
  for (int64_t c = 0; c < columns; c += kSketchColumns) {
    checkpoint(r);
    const int64_t width = std::min(kSketchColumns, columns - c);
    make_columns(random, first + c, nullptr, width, count, block, stream);
    GemmArgs g;
    g.a = x.slice(1, c, width);
    g.b = make_view(block, DType::kF32, width, count);
    g.c = make_view(out, DType::kF32, rows, count);
    g.accumulate = true;
    run(g, r);
  }
}

}  // namespace

void run(const SketchArgs& args, Run& r) {
  const int64_t rows = sketch_rows(args), functions = args.offsets.shape[0] - 1;
  if (rows == 0 || functions == 0) return;
  on_device(args, r, [&](const SketchArgs& a, Stream& stream) {
    const View& out = a.sketches;
    const int64_t repeats = out.shape[1];
    const int64_t left = a.left;
    const int64_t right = out.shape[2] / left;
    const int64_t inputs = a.a ? a.a.shape[0] : 1;
    const bool gaussian = a.projection == Projection::kGaussian;
    const Random random1{uint64_t(a.seed), 2 * uint64_t(a.stream), gaussian};
    const Random random2{uint64_t(a.seed), 2 * uint64_t(a.stream) + 1, gaussian};
    float* p = device_scratch<float>(r, rows * repeats * left);
    float* q = device_scratch<float>(r, inputs * repeats * right);
    if (a.ids)
      make_columns(random1, a.first_column, a.ids.as<const int32_t>(), rows, repeats * left, p, stream);
    else
      project(a.d, random1, a.first_column, false, p, rows, repeats * left, r);
    project(a.a, random2, 0, a.bias || !a.a, q, inputs, repeats * right, r);
    OuterProblem o;
    o.d = make_view(p, DType::kF32, rows, repeats * left);
    o.a = make_view(q, DType::kF32, inputs, repeats * right);
    o.a_rows = a.a_rows;
    o.offsets = a.offsets;
    if (!a.a) {  // every row has the one constant input
      const std::vector<int32_t> zeros(static_cast<size_t>(rows), 0);
      o.a_rows = make_view(const_cast<int32_t*>(device_copy(r, zeros.data(), rows)), DType::kI32, rows);
    }
    o.outputs = left;
    o.inputs = right;
    o.repeats = repeats;
    o.out = out.as<float>();
    o.function_step = out.stride[0];
    o.repeat_step = out.stride[1];
    o.output_step = right;
    o.input_step = 1;
    o.accumulate = true;
    o.scale = float(1 / std::sqrt(double(left * right)));
    outer_products(o, r);
  });
}

}  // namespace hf::cuda
