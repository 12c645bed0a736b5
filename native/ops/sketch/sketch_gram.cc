#include "ops/sketch/sketch_gram.h"

#include <cmath>
#include <initializer_list>

namespace hf {
namespace {

// The continued fraction of the incomplete beta function (Lentz's method; Abramowitz & Stegun 26.5.8).
double beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  const auto not_zero = [](double value) { return std::fabs(value) < tiny ? tiny : value; };
  double c = 1;
  double d = 1 / not_zero(1 - (a + b) * x / (a + 1));
  double h = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    for (const double numerator : {even, odd}) {
      d = 1 / not_zero(1 + numerator * d);
      c = not_zero(1 + numerator / c);
      h *= d * c;
    }
    if (std::fabs(d * c - 1) < 1e-15) break;
  }
  return h;
}

// The regularised incomplete beta function I_x(a, b).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                   : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

}  // namespace

double student_t_quantile(double confidence, double degrees) {
  // P(|T| > t) = I_x(ν/2, 1/2) with x = ν / (ν + t²): bisection in x.
  double low = 0;
  double high = 1;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = (low + high) / 2;
    if (middle == low || middle == high) break;
    if (incomplete_beta(degrees / 2, 0.5, middle) < 1 - confidence)
      low = middle;
    else
      high = middle;
  }
  return std::sqrt(degrees * (1 - low) / low);
}

}  // namespace hf
