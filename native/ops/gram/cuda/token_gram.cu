// The ghost form of the kernel of one parameter: gram.h with ⟨a, a'⟩ + b as factor. One kernel makes both
// products of a tile.
#include "ops/gram/cuda/gram.h"

namespace hf::cuda {

void run(const TokenGramArgs& args, Run& r) {
  on_device(args, r, [&](const TokenGramArgs& a, Stream&) {
    GramProblem p;
    p.factor = a.a ? Factor::kProduct : Factor::kOne;
    const auto side = [](const View& d, const View& a, const View& a_rows, const View& host_offsets) {
      GramSide s;
      s.d = operand_of(d);
      s.offsets = host_offsets;
      s.rows = d.shape[0];
      if (a) s.a = operand_of(a, a_rows);
      return s;
    };
    p.first = side(a.d, a.a, a.a_rows, args.offsets);
    p.symmetric = !a.offsets2;
    if (!p.symmetric) p.second = side(a.d2, a.a2, a.a_rows2, args.offsets2);
    p.depth = a.d.shape[1];
    p.a_depth = a.a ? a.a.shape[1] : 0;
    p.bias = a.bias ? 1 : 0;
    p.accumulate = a.accumulate;
    p.gram = a.gram;
    gram_tiles(p, r);
  });
}

}  // namespace hf::cuda
