// The kernel of an embedding table: gram.h with 1[equal ids] as factor. Where the CPU sorts rows by id, tiles
// without a common id are skipped here.
#include "ops/gram/cuda/gram.h"

namespace hf::cuda {

void run(const EmbeddingGramArgs& args, Run& r) {
  on_device(args, r, [&](const EmbeddingGramArgs& a, Stream&) {
    GramProblem p;
    p.factor = Factor::kSameId;
    const auto side = [](const View& d, const View& ids, const View& host_offsets) {
      GramSide s;
      s.d = operand_of(d);
      s.ids = ids.as<const int32_t>();
      s.offsets = host_offsets;
      s.rows = d.shape[0];
      return s;
    };
    p.first = side(a.d, a.ids, args.offsets);
    p.symmetric = !a.offsets2;
    if (!p.symmetric) p.second = side(a.d2, a.ids2, args.offsets2);
    p.depth = a.d.shape[1];
    p.accumulate = a.accumulate;
    p.gram = a.gram;
    gram_tiles(p, r);
  });
}

}  // namespace hf::cuda
