// Layer and RMS norm. A warp owns a row of up to 768 columns, a block a longer one. A thread holds its
// numbers of the row, of the gain and of the bias in registers, four at a time, so that memory is read once
// and waited for once. Rows of more than 4,096 columns are read again for each use. Shared memory: 8 floats.
// Memory bound: forward 8 bytes a number for about 7 operations.
#include "backends/cuda/rows.h"
#include "backends/cuda/stage.h"

namespace hf::cuda {
namespace {

constexpr int kStep = 4 * kThreads;
constexpr int kShared = kThreads / kWarp * sizeof(float);

// A row as its kLanes threads see it. Each holds kItems fours of it in registers; with kItems = 0 a thread
// has any number of them, and holds none.
template <int kLanes, int kItems>
struct RowOf {
  int64_t n, columns;
  int lane;
  Shared<float> room;
  Four held[kItems > 0 ? kItems : 1];

  HF_DEVICE RowOf(int64_t count, Shared<float> shared)
      : n((int64_t(blockIdx.x) * kThreads + threadIdx.x) / kLanes),
        columns(count),
        lane(int(threadIdx.x) % kLanes),
        room(shared) {}
  // body(column, i) for each of the thread's fours; i counts those that it holds.
  template <class Body>
  HF_DEVICE void each(const Body& body) const {
    if constexpr (kItems > 0) {
#pragma unroll
      for (int i = 0; i < kItems; ++i)
        if (4 * (lane + i * kLanes) < columns) body(4 * (lane + i * kLanes), i);
    } else {
      for (int64_t c = 4 * lane; c < columns; c += 4 * kLanes)
        body(c, 0);
    }
  }
  // Reads a row of x into registers; get() then takes it from there, or from memory where nothing is held.
  HF_DEVICE void hold(const Rows& x) { hold(x, n); }
  HF_DEVICE void hold(const Rows& x, int64_t row) {
    if constexpr (kItems > 0) {
      with_loads(x, columns,
                 [&](const auto& load) { each([&](int64_t c, int i) { held[i] = load(row, c); }); });
    }
  }
  HF_DEVICE void clear() {
    for (Four& four : held)
      four = {{0, 0, 0, 0}};
  }
  HF_DEVICE Four get(const Rows& x, int64_t c, int i) const { return get(x, n, c, i); }
  HF_DEVICE Four get(const Rows& x, int64_t row, int64_t c, int i) const {
    if constexpr (kItems > 0)
      return held[i];
    else
      return x.load(row, c, columns);
  }
  // Over all threads of the row.
  HF_DEVICE float sum(float value) const {
    if constexpr (kLanes == kWarp)
      return warp_sum(value);
    else
      return block_sum(value, room);
  }
};

template <int kLanes, int kItems>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(NormKind kind, Rows x, Rows gain, Rows bias, Rows y, float* mean_out, float* rstd_out,
                   int64_t rows, int64_t columns, float eps) {
  SharedMemory memory;
  RowOf<kLanes, kItems> row(columns, memory.take<float>(kThreads / kWarp)), gains(columns, row.room);
  if (row.n >= rows) return;
  const float count = static_cast<float>(columns);
  row.hold(x);
  gains.hold(gain, 0);
  float mean = 0;
  if (kind == NormKind::kLayer) {
    float sum = 0;
    row.each([&](int64_t c, int i) {
      const Four a = row.get(x, c, i);
      sum += (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
    });
    mean = row.sum(sum) / count;
  }
  // The variance is of deviations from the mean; E x² − mean² would cancel. The mean of the deviations is
  // what rounding left of the first mean.
  float squares = 0, rest = 0;
  row.each([&](int64_t c, int k) {
    const Four a = row.get(x, c, k);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (c + i < columns) {
        squares += (a.v[i] - mean) * (a.v[i] - mean);
        rest += a.v[i] - mean;
      }
  });
  rest = kind == NormKind::kLayer ? row.sum(rest) / count : 0.0f;
  const float rstd = 1.0f / sqrtf(row.sum(squares) / count - rest * rest + eps);
  const auto scaled = [&](int64_t c, int k) {
    const Four a = row.get(x, c, k), g = gains.get(gain, 0, c, k);
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out.v[i] = ((a.v[i] - mean) - rest) * rstd * g.v[i];
    return out;
  };
  const auto store = [&](int64_t c, Four out, const Four& b) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out.v[i] += b.v[i];
    y.store(row.n, c, columns, out);
  };
  if constexpr (kItems > 0) {  // the bias is fetched in one go, into the place of the gain
    row.each([&](int64_t c, int k) { row.held[k] = scaled(c, k); });
    gains.clear();
    if (bias.data) gains.hold(bias, 0);
    row.each([&](int64_t c, int k) { store(c, row.held[k], gains.held[k]); });
  } else {
    row.each([&](int64_t c, int k) {
      store(c, scaled(c, k), bias.data ? bias.load(0, c, columns) : Four{{0, 0, 0, 0}});
    });
  }
  if (row.lane == 0) {
    if (mean_out) mean_out[row.n] = mean + rest;
    if (rstd_out) rstd_out[row.n] = rstd;
  }
}

template <int kLanes, int kItems>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(NormKind kind, Rows x, Rows gain, const float* mean_in, const float* rstd_in, Rows d_y,
                    Rows d_x, Rows x_hat, bool add, int64_t rows, int64_t columns) {
  SharedMemory memory;
  RowOf<kLanes, kItems> row(columns, memory.take<float>(kThreads / kWarp));
  RowOf<kLanes, kItems> slope(columns, row.room);
  RowOf<kLanes, kItems> gains(columns, row.room);
  if (row.n >= rows) return;
  const float mean = mean_in[row.n], rstd = rstd_in[row.n], count = static_cast<float>(columns);
  row.hold(x);
  slope.hold(d_y);
  gains.hold(gain, 0);
  float sum = 0, product = 0;
  row.each([&](int64_t c, int k) {
    const Four a = row.get(x, c, k), d = slope.get(d_y, c, k), g = gains.get(gain, 0, c, k);
    Four hat;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      hat.v[i] = (a.v[i] - mean) * rstd;
      if (c + i < columns) {
        sum += g.v[i] * d.v[i];
        product += g.v[i] * d.v[i] * hat.v[i];
      }
    }
    if (x_hat.data) x_hat.store(row.n, c, columns, hat);
  });
  if (!d_x.data) return;
  const float mean_g = kind == NormKind::kLayer ? row.sum(sum) / count : 0.0f;
  const float mean_product = row.sum(product) / count;
  const auto change = [&](int64_t c, int k) {
    const Four a = row.get(x, c, k), d = slope.get(d_y, c, k), g = gains.get(gain, 0, c, k);
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out.v[i] = rstd * (g.v[i] * d.v[i] - mean_g - (a.v[i] - mean) * rstd * mean_product);
    return out;
  };
  const auto store = [&](int64_t c, Four out, const Four& old) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out.v[i] += old.v[i];
    d_x.store(row.n, c, columns, out);
  };
  if constexpr (kItems > 0) {  // what d_x has is fetched in one go, not each four after the store of the last
    row.each([&](int64_t c, int k) { row.held[k] = change(c, k); });
    slope.clear();
    if (add) slope.hold(d_x);
    row.each([&](int64_t c, int k) { store(c, row.held[k], slope.held[k]); });
  } else {
    row.each([&](int64_t c, int k) {
      store(c, change(c, k), add ? d_x.load(row.n, c, columns) : Four{{0, 0, 0, 0}});
    });
  }
}

// t_x̂ = rstd (t_x − [layer] mean(t_x) − x̂ mean(x̂ t_x)),  t_y = gain t_x̂ + t_gain x̂ + t_bias. A block owns a
// row.
HF_KERNEL __launch_bounds__(kThreads)
    jvp_kernel(NormKind kind, Rows x, Rows gain, const float* mean_in, const float* rstd_in, Rows t_x,
               Rows t_gain, Rows t_bias, Rows t_y, int64_t columns) {
  SharedMemory memory;
  const Shared<float> room = memory.take<float>(kThreads / kWarp);
  const int64_t n = blockIdx.x;
  const float mean = mean_in[n], rstd = rstd_in[n], count = static_cast<float>(columns);
  float sum = 0, product = 0;
  if (t_x.data)
    for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
      const Four a = x.load(n, c, columns), t = t_x.load(n, c, columns);
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // t is 0 beyond the last column
        sum += t.v[i];
        product += t.v[i] * (a.v[i] - mean) * rstd;
      }
    }
  const float mean_t = kind == NormKind::kLayer ? block_sum(sum, room) / count : 0.0f;
  const float mean_product = block_sum(product, room) / count;
  const Four none = {{0, 0, 0, 0}};
  for (int64_t c = 4 * threadIdx.x; c < columns; c += kStep) {
    const Four a = x.load(n, c, columns);
    const Four g = gain.load(0, c, columns);
    const Four t = t_x.data ? t_x.load(n, c, columns) : none;
    const Four tg = t_gain.data ? t_gain.load(0, c, columns) : none;
    const Four tb = t_bias.data ? t_bias.load(0, c, columns) : none;
    Four out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float hat = (a.v[i] - mean) * rstd;
      out.v[i] = g.v[i] * rstd * (t.v[i] - mean_t - hat * mean_product) + tg.v[i] * hat + tb.v[i];
    }
    t_y.store(n, c, columns, out);
  }
}

template <int lanes_, int items_>
struct RowTag {
  static constexpr int lanes = lanes_, items = items_;
};
// body(RowTag) for rows of so many columns, so that the kernels know how a row is shared when they are
// compiled.
template <class Body>
void with_row(int64_t columns, const Body& body) {
  if (columns <= 128) return body(RowTag<kWarp, 1>{});
  if (columns <= 512) return body(RowTag<kWarp, 4>{});
  if (columns <= 768) return body(RowTag<kWarp, 6>{});
  if (columns <= kStep) return body(RowTag<kThreads, 1>{});  // a warp would hold too many registers
  if (columns <= 2 * kStep) return body(RowTag<kThreads, 2>{});
  if (columns <= 4 * kStep) return body(RowTag<kThreads, 4>{});
  body(RowTag<kThreads, 0>{});
}

}  // namespace

void run(const NormArgs& args, Run& r) {
  on_device(args, r, [](const NormArgs& a, Stream& stream) {
    with_row(a.x.shape[1], [&](auto tag) {
      launch("norm", forward_kernel<tag.lanes, tag.items>, dim3(blocks(a.x.shape[0], kThreads / tag.lanes)),
             kThreads, kShared, stream, a.kind, rows_of(a.x), rows_of(a.gain), rows_of(a.bias), rows_of(a.y),
             a.mean.as<float>(), a.rstd.as<float>(), a.x.shape[0], a.x.shape[1], float(a.eps));
    });
  });
}
void run(const NormBackwardArgs& args, Run& r) {
  on_device(args, r, [](const NormBackwardArgs& a, Stream& stream) {
    with_row(a.x.shape[1], [&](auto tag) {
      launch("norm_backward", backward_kernel<tag.lanes, tag.items>,
             dim3(blocks(a.x.shape[0], kThreads / tag.lanes)), kThreads, kShared, stream, a.kind,
             rows_of(a.x), rows_of(a.gain), a.mean.as<const float>(), a.rstd.as<const float>(),
             rows_of(a.d_y), rows_of(a.d_x), rows_of(a.x_hat), a.add_to_d_x, a.x.shape[0], a.x.shape[1]);
    });
  });
}
void run(const NormJvpArgs& args, Run& r) {
  on_device(args, r, [](const NormJvpArgs& a, Stream& stream) {
    launch("norm_jvp", jvp_kernel, dim3(unsigned(a.x.shape[0])), kThreads, kShared, stream, a.kind,
           rows_of(a.x), rows_of(a.gain), a.mean.as<const float>(), a.rstd.as<const float>(), rows_of(a.t_x),
           rows_of(a.t_gain), rows_of(a.t_bias), rows_of(a.t_y), a.x.shape[1]);
  });
}

}  // namespace hf::cuda
