// A thread takes whole functions. Gradients are made block by block in a scratch of its own, squared there,
// and copied to where they belong; norms of short functions come from the products of their rows instead.
#include "ops/gram/cpu/gradient_blocks.h"

namespace hf::HF_ISA {
namespace {

constexpr int64_t kBlockOutputs = 252, kBlockInputs = 256;  // 252 KiB of gradients

HF_INLINE double sum_of_squares(const float* x, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; i += 1024) {
    const int64_t end = count - i < 1024 ? count : i + 1024;
    Floats squares = zero();
    for (int64_t k = i; k < end; k += kLanes) {
      const Floats v = load_partial(x + k, end - k);
      squares = v * v + squares;
    }
    total += double(sum(squares));
  }
  return total;
}

// Σ over pairs of function s's rows of (⟨a,a'⟩ + bias) ⟨d,d'⟩.
HF_NOINLINE double ghost_norm(const Rows& x, int64_t s, int64_t inputs, int64_t outputs, float bias) {
  alignas(64) float p[kTile * kTile + kLanes], q[kTile * kTile + kLanes];
  const float *rows1[kTile], *rows2[kTile];
  double total = 0;
  for (int64_t n0 = x.begin(s); n0 < x.end(s); n0 += kTile)
    for (int64_t m0 = n0; m0 < x.end(s); m0 += kTile) {
      const int64_t n = x.end(s) - n0 < kTile ? x.end(s) - n0 : kTile,
                    m = x.end(s) - m0 < kTile ? x.end(s) - m0 : kTile;
      for (int64_t i = 0; i < n; ++i)
        rows1[i] = x.gradient(n0 + i);
      for (int64_t j = 0; j < m; ++j)
        rows2[j] = x.gradient(m0 + j);
      row_products(rows1, n, rows2, m, outputs, q);
      for (int64_t i = 0; i < n; ++i)
        rows1[i] = x.input(n0 + i);
      for (int64_t j = 0; j < m; ++j)
        rows2[j] = x.input(m0 + j);
      row_products(rows1, n, rows2, m, inputs, p);
      total += (n0 == m0 ? 1 : 2) * tile_sum(p, q, bias, 0, n, 0, m);
    }
  return total;
}

}  // namespace

void run(const PerSampleLinearArgs& args, Run& r) {
  const Rows x = rows_of(args.d, args.offsets, args.a, args.a_rows);
  const int64_t inputs = args.a.shape[1], outputs = args.d.shape[1];
  const View &g = args.gradients, &sums_out = args.bias_gradients;
  if (x.functions == 0 || !(g || sums_out || args.squared_norms)) return;
  const bool swapped = g && g.stride[2] != 1 && g.shape[2] > 1;
  const int64_t threads = r.threads < x.functions ? r.threads : x.functions;
  const int64_t buffer = pack_floats(kBlockOutputs, kBlockInputs) + kBlockOutputs * kBlockInputs + outputs;
  Scratch scratch(r);
  float* const buffers = scratch.allocate<float>(threads * buffer);
  if (r.counting) return;
  const int64_t group = 16 * threads;
  for (int64_t first = 0; first < x.functions; first += group) {
    checkpoint(r);
    const int64_t last = first + group < x.functions ? first + group : x.functions;
    parallel_for(r, threads, [&](int64_t thread) {
      float* const packed = buffers + thread * buffer;
      float* const block = packed + pack_floats(kBlockOutputs, kBlockInputs);
      float* const sums = block + kBlockOutputs * kBlockInputs;
      for (int64_t s = first + thread; s < last; s += threads) {
        double squares = 0;
        const bool ghost =
            !g && ghost_norm_wins(double(x.end(s) - x.begin(s)), double(inputs), double(outputs));
        if (args.bias && (sums_out || (args.squared_norms && !ghost))) {
          gradient_sums(x, s, 0, outputs, sums);
          squares += sum_of_squares(sums, outputs);
          for (int64_t o = 0; sums_out && o < outputs; ++o) {
            float& to = sums_out.as<float>()[s * sums_out.stride[0] + o];
            to = args.accumulate ? to + sums[o] : sums[o];
          }
        }
        if (ghost && args.squared_norms) {
          squares = ghost_norm(x, s, inputs, outputs, args.bias);
        } else if (g || args.squared_norms) {
          for (int64_t o0 = 0; o0 < outputs; o0 += kBlockOutputs)
            for (int64_t i0 = 0; i0 < inputs; i0 += kBlockInputs) {
              const BlockRange range = {o0, outputs - o0 < kBlockOutputs ? outputs - o0 : kBlockOutputs, i0,
                                        inputs - i0 < kBlockInputs ? inputs - i0 : kBlockInputs};
              gradient_of(x, s, range, swapped, packed, block);
              if (args.squared_norms) squares += sum_of_squares(block, range.outputs * range.inputs);
              if (!g) continue;
              const int64_t rows = swapped ? range.inputs : range.outputs,
                            columns = swapped ? range.outputs : range.inputs;
              const int64_t row = swapped ? g.stride[2] : g.stride[1];
              float* const to = g.as<float>() + s * g.stride[0] + o0 * g.stride[1] + i0 * g.stride[2];
              for (int64_t i = 0; i < rows; ++i)
                for (int64_t j = 0; j < columns; j += kLanes) {
                  float* const at = to + i * row + j;
                  const Floats v = load_partial(block + i * columns + j, columns - j);
                  store_partial(at, args.accumulate ? v + load_partial(at, columns - j) : v, columns - j);
                }
            }
        }
        if (args.squared_norms) {
          double& norm = args.squared_norms.as<double>()[s];
          norm = args.accumulate ? norm + squares : squares;
        }
      }
    });
  }
}

}  // namespace hf::HF_ISA
