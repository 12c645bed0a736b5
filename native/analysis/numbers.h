// A run's numbers as doubles on the host, and back. What a step did to a policy is a difference of nearly
// equal numbers, so everything after the passes over the model is computed in double, whatever the model is.
#pragma once

#include "runtime/run.h"

namespace hf {

// to[i] = from[i] for all numbers of a contiguous view in the run's real type, wherever they live.
void read_doubles(const View& from, double* to, Run& run);

// The other way round: to[i] = from[i], rounded to the view's type.
void write_doubles(const double* from, const View& to, Run& run);

// Calls body(begin, end) for pieces of 0 … count − 1 on the run's threads. The pieces depend on `count`
// alone.
constexpr int64_t kPiece = 1 << 16;
template <class Body>
void for_pieces(Run& run, int64_t count, const Body& body) {
  parallel_for(run, (count + kPiece - 1) / kPiece, [&](int64_t piece) {
    const int64_t begin = piece * kPiece;
    body(begin, begin + kPiece < count ? begin + kPiece : count);
  });
}

}  // namespace hf
