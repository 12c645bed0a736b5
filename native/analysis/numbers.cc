#include "analysis/numbers.h"

namespace hf {
namespace {

template <class From, class To>
void convert(const From* from, To* to, int64_t count, Run& run) {
  for_pieces(run, count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      to[i] = static_cast<To>(from[i]);
  });
}

}  // namespace

void read_doubles(const View& from, double* to, Run& run) {
  const Scratch scratch(run);
  View host = from;
  if (run.device) {
    host = host_tensor(run, from.dtype, from.size());
    copy_numbers(run, host, from);
  }
  if (host.dtype == DType::kF64)
    convert(host.as<double>(), to, host.size(), run);
  else
    convert(host.as<float>(), to, host.size(), run);
}

void write_doubles(const double* from, const View& to, Run& run) {
  const Scratch scratch(run);
  const View host = run.device ? host_tensor(run, to.dtype, to.size()) : to;
  if (host.dtype == DType::kF64)
    convert(from, host.as<double>(), host.size(), run);
  else
    convert(from, host.as<float>(), host.size(), run);
  if (run.device) copy_numbers(run, to, host);
}

}  // namespace hf
