#include <cmath>
#include <vector>

#include "backends/reference/reference.h"

namespace hf::reference {
namespace {

template <class Real>
Real* row(const View& v, int64_t n, int64_t head) {
  return v.as<Real>() + n * v.stride[0] + head * v.stride[1];
}

template <class Real>
Real dot(const Real* a, const Real* b, int64_t D) {
  Real sum = 0;
  for (int64_t d = 0; d < D; ++d)
    sum += a[d] * b[d];
  return sum;
}

template <class Real>
void clear(const View& v) {
  for (int64_t n = 0; n < v.shape[0]; ++n)
    for (int64_t h = 0; h < v.shape[1]; ++h)
      for (int64_t d = 0; d < v.shape[2]; ++d)
        row<Real>(v, n, h)[d] = 0;
}

// Calls body(i, h, g, first) for every query row i and head h; g is its key/value head, first the sequence's
// first row.
template <class Args, class Body>
void for_each_query(const Args& a, const Body& body) {
  const int64_t H = a.q.shape[1];
  const int64_t per_group = H / a.k.shape[1];
  const int32_t* offsets = a.offsets.template as<int32_t>();
  for (int64_t s = 0; s + 1 < a.offsets.shape[0]; ++s)
    for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i)
      for (int64_t h = 0; h < H; ++h)
        body(i, h, h / per_group, int64_t{offsets[s]});
}

}  // namespace

template <class Real>
void run(const AttentionArgs& a, Run&) {
  const int64_t D = a.q.shape[2];
  const Real scale = static_cast<Real>(a.scale);
  std::vector<Real> p(a.q.shape[0]);
  for_each_query(a, [&](int64_t i, int64_t h, int64_t g, int64_t first) {
    Real max = -INFINITY;
    for (int64_t j = first; j <= i; ++j) {
      p[j] = scale * dot(row<Real>(a.q, i, h), row<Real>(a.k, j, g), D);
      max = std::fmax(max, p[j]);
    }
    Real sum = 0;
    for (int64_t j = first; j <= i; ++j) {
      p[j] = std::exp(p[j] - max);
      sum += p[j];
    }
    Real* y = row<Real>(a.y, i, h);
    for (int64_t d = 0; d < D; ++d) {
      y[d] = 0;
      for (int64_t j = first; j <= i; ++j)
        y[d] += p[j] * row<Real>(a.v, j, g)[d];
      y[d] /= sum;
    }
    if (a.lse) a.lse.as<Real>()[i * a.lse.stride[0] + h] = max + std::log(sum);
  });
}

template <class Real>
void run(const AttentionBackwardArgs& a, Run&) {
  const int64_t D = a.q.shape[2];
  const Real scale = static_cast<Real>(a.scale);
  clear<Real>(a.d_q);
  clear<Real>(a.d_k);
  clear<Real>(a.d_v);
  for_each_query(a, [&](int64_t i, int64_t h, int64_t g, int64_t first) {
    const Real* q = row<Real>(a.q, i, h);
    const Real* d_y = row<Real>(a.d_y, i, h);
    const Real lse = a.lse.as<Real>()[i * a.lse.stride[0] + h];
    const Real mean = dot(d_y, row<Real>(a.y, i, h), D);  // Σ_j P_ij ⟨d_y_i, v_j⟩
    Real* d_q = row<Real>(a.d_q, i, h);
    for (int64_t j = first; j <= i; ++j) {
      const Real* k = row<Real>(a.k, j, g);
      const Real* v = row<Real>(a.v, j, g);
      Real* d_k = row<Real>(a.d_k, j, g);
      Real* d_v = row<Real>(a.d_v, j, g);
      const Real p = std::exp(scale * dot(q, k, D) - lse);
      const Real d_s = scale * p * (dot(d_y, v, D) - mean);
      for (int64_t d = 0; d < D; ++d) {
        d_q[d] += d_s * k[d];
        d_k[d] += d_s * q[d];
        d_v[d] += p * d_y[d];
      }
    }
  });
}

template <class Real>
void run(const AttentionJvpArgs& a, Run&) {
  const int64_t D = a.q.shape[2];
  const Real scale = static_cast<Real>(a.scale);
  std::vector<Real> p(a.q.shape[0]);
  std::vector<Real> t_s(a.q.shape[0]);
  for_each_query(a, [&](int64_t i, int64_t h, int64_t g, int64_t first) {
    const Real* q = row<Real>(a.q, i, h);
    const Real* t_q = row<Real>(a.t_q, i, h);
    const Real lse = a.lse.as<Real>()[i * a.lse.stride[0] + h];
    Real mean = 0;
    for (int64_t j = first; j <= i; ++j) {
      const Real* k = row<Real>(a.k, j, g);
      p[j] = std::exp(scale * dot(q, k, D) - lse);
      t_s[j] = scale * (dot(t_q, k, D) + dot(q, row<Real>(a.t_k, j, g), D));
      mean += p[j] * t_s[j];
    }
    Real* t_y = row<Real>(a.t_y, i, h);
    for (int64_t d = 0; d < D; ++d) {
      t_y[d] = 0;
      for (int64_t j = first; j <= i; ++j)
        t_y[d] += p[j] * ((t_s[j] - mean) * row<Real>(a.v, j, g)[d] + row<Real>(a.t_v, j, g)[d]);
    }
  });
}

HF_REFERENCE(AttentionArgs)
HF_REFERENCE(AttentionBackwardArgs)
HF_REFERENCE(AttentionJvpArgs)

}  // namespace hf::reference
