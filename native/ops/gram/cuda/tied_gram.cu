// The cross term of a tied matrix: gram.h with ⟨φ, δ⟩ as product and g[n, ids'] as factor.
#include "ops/gram/cuda/gram.h"

namespace hf::cuda {

void run(const TiedGramArgs& args, Run& r) {
  on_device(args, r, [&](const TiedGramArgs& a, Stream&) {
    GramProblem p;
    p.factor = Factor::kGather;
    p.first.d = operand_of(a.phi, a.phi_rows);
    p.first.offsets = args.offsets;
    p.first.rows = a.g.shape[0];
    p.second.d = operand_of(a.delta);
    p.second.ids = a.ids.as<const int32_t>();
    p.second.offsets = args.offsets2;
    p.second.rows = a.delta.shape[0];
    p.g = a.g.as<const float>();
    p.g_step = a.g.stride[0];
    p.g_columns = a.g.shape[1];
    p.first_id = a.first_id;
    p.depth = a.phi.shape[1];
    p.symmetrize = a.symmetrize;
    p.accumulate = a.accumulate;
    p.gram = a.gram;
    gram_tiles(p, r);
  });
}

}  // namespace hf::cuda
