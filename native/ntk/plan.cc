// How functions are cut into blocks, so that a step stays within a budget of memory. What a step takes is
// counted by its own code on a counting run.
#include "ntk/plan.h"

#include <algorithm>
#include <map>

#include "ntk/pairs.h"
#include "ntk/per_sample.h"
#include "runtime/counting_run.h"

namespace hf {
namespace {

// What a caller does with a block of functions.
struct Step {
  std::vector<bool> wanted;  // parameters
  bool classifier = false;   // as FunctionBlock takes it
  Keep keep = Keep::kAll;
  // What stays of the backward pass: numbers of each gradient row and of each function, and the pairs.
  int64_t kept_per_row = 0, kept_per_function = 0;
  bool keeps_pairs = false;
};

// Does nothing with the pairs but count the bytes of copies that outlive the backward pass, as GramSink
// stores them.
class CountingSink : public PairSink {
 public:
  using PairSink::PairSink;
  void classifier(const View&, const View&, int64_t, const View&) override {}
  void matrix(const Linear& linear, const MatrixPair& pair) override {
    pair_bytes += pair.d.bytes();
    if (linear.passing_input) pair_bytes += pair.a.bytes();
  }
  void elements(int, const View& gradients) override { pair_bytes += gradients.bytes(); }
  void table(int, const View&, const View& d, const View&) override { pair_bytes += d.bytes(); }

  int64_t pair_bytes = 0;
};

int64_t step_bytes(const Model& model, const Functions& functions, FunctionRange range, const Step& step) {
  CountingRun counting(*model.context());
  const FunctionBlock block(model, functions, range, counting.run(), step.classifier, step.keep);
  CountingSink sink(block, step.wanted);
  block.gradients(sink);
  const int64_t kept =
      gradient_rows(functions, range) * step.kept_per_row + range.count() * step.kept_per_function;
  const int64_t pairs = step.keeps_pairs ? sink.pair_bytes : 0;
  return counting.peak_bytes() + kept * dtype_bytes(counting.run().real()) + pairs;
}

// The largest end of a block that begins at `begin`, fits(range) being true of shorter ranges whenever it is
// of longer ones. Tries `guess` first, then goes on in steps that double, then halves what it has enclosed.
template <class Fits>
int64_t largest_end(int64_t begin, int64_t guess, int64_t count, const Fits& fits) {
  int64_t good = begin + 1, bad = count + 1;
  int64_t probe = std::min(std::max(guess, good + 1), count);
  for (int64_t step = 1; good + 1 < bad; step *= 2) {
    if (fits(FunctionRange{begin, probe}))
      good = probe;
    else
      bad = probe;
    probe = bad <= count ? (good + bad) / 2 : std::min(good + step, count);
  }
  return good;
}

// All that decides on a block's bytes: its sequences' lengths and its functions' terms, but not the tokens.
std::vector<int32_t> shape_of(const Functions& functions, FunctionRange range) {
  const int32_t first = functions.sequence[range.begin], last = functions.sequence[range.end - 1];
  const int32_t row = functions.offsets[first];
  std::vector<int32_t> shape;
  for (int32_t q = first; q <= last; ++q)
    shape.push_back(functions.offsets[q + 1] - row);
  for (int64_t f = range.begin; f < range.end; ++f) {
    shape.push_back(-1);  // a function begins
    for (int32_t i = functions.term_offsets[f]; i < functions.term_offsets[f + 1]; ++i)
      shape.push_back(functions.rows[i] - row);
  }
  return shape;
}

std::vector<FunctionRange> cut(const Model& model, const Functions& functions, int64_t max_bytes,
                               const Step& step, int64_t* bytes) {
  const bool device(model.context()->device());
  const int64_t gradient_block = device ? gradient_block_bytes(device, max_bytes) : 0;
  std::map<std::vector<int32_t>, int64_t> counted;  // samples are often of a few lengths
  const auto bytes_of = [&](FunctionRange range) {
    const auto [place, is_new] = counted.try_emplace(shape_of(functions, range));
    if (is_new) place->second = step_bytes(model, functions, range, step) + gradient_block;
    return place->second;
  };
  const auto fits = [&](FunctionRange range) { return bytes_of(range) <= max_bytes; };
  std::vector<FunctionRange> blocks;
  *bytes = 0;
  for (int64_t begin = 0, end; begin < functions.count(); begin = end) {
    const int64_t one = bytes_of({begin, begin + 1});
    HF_CHECK(one <= max_bytes, ErrorCode::kOutOfMemory,
             "ntk: function %lld alone needs %lld bytes of working memory, but maxBytes is %lld; shorten the "
             "sample, raise maxBytes, or use a smaller parameter filter",
             static_cast<long long>(begin), static_cast<long long>(one), static_cast<long long>(max_bytes));
    const int64_t before = blocks.empty() ? 1 : blocks.back().count();
    end = largest_end(begin, begin + before, functions.count(), fits);
    *bytes = std::max(*bytes, bytes_of({begin, end}));
    blocks.push_back({begin, end});
  }
  return blocks;
}

GramPlan plan_ranges(const Model& model, const Functions& first, const Functions* second,
                     const GramOptions& options) {
  GramPlan plan;
  if (options.implementation == Implementation::kNtkVectorProducts) {
    plan.blocks1 = cut(model, first, options.max_bytes, {.wanted = options.wanted}, &plan.bytes);
    return plan;
  }
  const bool structured = options.implementation == Implementation::kStructuredDerivatives;
  Step alone{.wanted = options.wanted};
  if (structured) {
    alone.classifier = options.wanted[model.classifier()];
    alone.keep = Keep::kLess;
  } else {
    alone.kept_per_function = GradientLayout(model, options.wanted).width;
  }
  if (structured && !second) {
    // One block needs no stored pairs and no second block beside it.
    try {
      plan.blocks1 = cut(model, first, options.max_bytes, alone, &plan.bytes);
    } catch (const Error&) {
      plan.blocks1.clear();
    }
    if (plan.blocks1.size() == 1 || first.count() == 0) return plan;
  }
  // A block of rows, whose pairs are stored, and a block of columns beside it, each of half the budget.
  Step of_rows = alone;
  of_rows.keep = Keep::kAll;
  of_rows.keeps_pairs = structured;
  int64_t row_bytes = 0, column_bytes = 0;
  plan.blocks1 = cut(model, first, options.max_bytes / 2, of_rows, &row_bytes);
  column_bytes = row_bytes;
  if (second) plan.blocks2 = cut(model, *second, options.max_bytes / 2, alone, &column_bytes);
  plan.bytes = row_bytes + column_bytes;
  return plan;
}

}  // namespace

std::vector<FunctionRange> plan_blocks(const Model& model, const Functions& functions, int64_t max_bytes,
                                       int64_t kept_per_row, int64_t kept_per_function, int64_t* bytes) {
  const Step step{
      .wanted = std::vector<bool>(model.parameters().size(), true),
      .kept_per_row = kept_per_row,
      .kept_per_function = kept_per_function,
  };
  return cut(model, functions, max_bytes, step, bytes);
}

GramPlan plan_gram(const Model& model, const Functions& first, const Functions* second,
                   const GramOptions& options) {
  GramPlan plan = plan_ranges(model, first, second, options);
  add_costs(model, first, second, options, plan);
  return plan;
}

}  // namespace hf
