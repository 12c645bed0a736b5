// How the logits at the end of prefixes move when the parameters move, split as the paper does
// (A. Tomihari, arXiv 2601.04670; with θ = (W, θ_φ)):
//   Δz(s) = ΔW φ(s)  +  W (∂φ(s)/∂θ_φ) Δθ_φ  + O(‖Δθ‖²)
//           direct       indirect
// Forward mode gives both for a whole step without any kernel. The indirect part can be split further into
// groups of parameters (layers, say), one forward-mode pass each; the parts sum to the whole.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"
#include "ntk/derivatives.h"

namespace hf {

// Prefixes of texts, packed so that one which another continues is not repeated: by causality its last token
// is a row inside the longer one.
struct Prefixes {
  Sequences sequences;
  std::vector<int32_t> rows;  // (n) packed row of each prefix's last token, in any order

  int64_t count() const { return int64_t(rows.size()); }
};

// Numbers at the last position of every prefix, each (n, V), in the prefixes' order.
struct LogitTangents {
  std::vector<double> logits;                 // z
  std::vector<double> direct;                 // ΔW φ; empty without a tangent
  std::vector<std::vector<double>> indirect;  // W Δφ when only the parameters of one group move
};

// A direction in parameter space: a flat vector (P) in the model's layout and, for every parameter, the group
// 0 … groups − 1 by which its part of Δφ is reported, or −1 for none (the classifier's, which is in
// `direct`).
struct Direction {
  View tangent;
  std::vector<int> group_of;
  int groups = 0;
};

// The logits of other positions are never formed. `direction` null: z alone. Sequences run in blocks of some
// thousand tokens, which bounds the activations.
LogitTangents logit_tangents(const Model& model, const Prefixes& prefixes, const Direction* direction,
                             Run& run);

}  // namespace hf
