#include "policy/generate.h"

#include <algorithm>

#include "policy/decoder.h"

namespace hf {

Completions generate(const Model& model, const int32_t* ids, const int32_t* offsets, int64_t prompts,
                     const GenerateOptions& options, Run& run) {
  const Prompts all{.ids = ids, .offsets = offsets};
  const int64_t total = prompts * options.num_return_sequences;
  Completions out;
  out.offsets.push_back(0);
  for (int64_t first = 0; first < total; first += options.max_batch) {
    Scratch scratch(run);
    Decoder decoder(model, all, options, first, std::min(options.max_batch, total - first), run);
    decoder.decode();
    decoder.append_to(out);
  }
  return out;
}

}  // namespace hf
