#include "analysis/tangents.h"

#include <algorithm>
#include <numeric>

#include "analysis/numbers.h"
#include "model/forward.h"
#include "ops/op_table.h"

namespace hf {
namespace {

constexpr int64_t kBlockTokens = 2048;  // of whole sequences that share a pass

// Sequences that share a pass, and the prefixes that end in them: order[first] … order[last − 1].
struct Block {
  int64_t sequence_begin, sequence_end;
  int64_t first, last;
};

class Passes {
 public:
  Passes(const Model& model, const Prefixes& prefixes, const Direction* direction, Run& run)
      : model_(model),
        prefixes_(prefixes),
        direction_(direction),
        run_(run),
        V_(model.spec().vocab_size),
        order_(prefixes.rows.size()) {
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t p, int64_t q) { return prefixes.rows[p] < prefixes.rows[q]; });
    const size_t numbers = order_.size() * size_t(V_);
    result_.logits.resize(numbers);
    if (!direction) return;
    result_.direct.resize(numbers);
    result_.indirect.assign(size_t(direction->groups), std::vector<double>(numbers));
  }

  LogitTangents run() {
    const int64_t sequences = prefixes_.sequences.count;
    for (Block block{0, 0, 0, 0}; block.sequence_begin < sequences; advance(block)) {
      complete(block);
      checkpoint(run_);
      const Scratch scratch(run_);
      this->block(block);
      report_progress(run_, block.sequence_end, sequences);
    }
    return std::move(result_);
  }

 private:
  // As many whole sequences as fit, but at least one.
  void complete(Block& block) const {
    const Sequences& all = prefixes_.sequences;
    const int32_t begin = all.offsets[block.sequence_begin];
    block.sequence_end = block.sequence_begin + 1;
    while (block.sequence_end < all.count && all.offsets[block.sequence_end + 1] - begin <= kBlockTokens)
      ++block.sequence_end;
    block.last = block.first;
    while (block.last < prefixes_.count() && row(block.last) < all.offsets[block.sequence_end])
      ++block.last;
  }
  static void advance(Block& block) {
    block.sequence_begin = block.sequence_end;
    block.first = block.last;
  }
  int32_t row(int64_t i) const { return prefixes_.rows[order_[i]]; }

  void block(const Block& block) {
    const Sequences& all = prefixes_.sequences;
    const Batch batch = make_batch(all.ids, all.offsets + block.sequence_begin,
                                   block.sequence_end - block.sequence_begin, run_);
    const bool forward_mode = direction_ && direction_->groups > 0;
    const Activations activations = forward(model_, batch, forward_mode ? Keep::kAll : Keep::kFeatures, run_);
    const View rows = arena_tensor(run_, DType::kI32, block.last - block.first);
    for (int64_t i = block.first; i < block.last; ++i)
      rows.as<int32_t>()[i - block.first] = row(i) - all.offsets[block.sequence_begin];
    const View features = gather_rows(activations.features(), rows, run_);
    const View z = arena_tensor(run_, run_.real(), block.last - block.first, V_);
    logits(model_, features, z, run_);
    store(z, block, result_.logits);
    if (!direction_) return;

    const View moved_classifier = model_.view_in(direction_->tangent, model_.classifier());
    dispatch(GemmArgs{.a = features, .b = moved_classifier.transposed(), .c = z}, run_);
    store(z, block, result_.direct);
    for (int group = 0; group < direction_->groups; ++group) {
      checkpoint(run_);
      const Scratch scratch(run_);
      const View moved_features = jvp(model_, activations, part(group), run_);
      logits(model_, gather_rows(moved_features, rows, run_), z, run_);
      store(z, block, result_.indirect[group]);
    }
  }

  // The tangent of one group's parameters, zero elsewhere.
  View part(int group) const {
    const View tangent = arena_tensor(run_, run_.real(), model_.size());
    set_zero(run_, tangent);
    for (size_t p = 0; p < direction_->group_of.size(); ++p)
      if (direction_->group_of[p] == group)
        copy_numbers(run_, model_.view_in(tangent, int(p)), model_.view_in(direction_->tangent, int(p)));
    return tangent;
  }

  // Rows of z belong to prefixes order[first] ….
  void store(const View& z, const Block& block, std::vector<double>& table) {
    for (int64_t i = block.first; i < block.last; ++i)
      read_doubles(z.slice(0, i - block.first, 1), table.data() + order_[i] * V_, run_);
  }

  const Model& model_;
  const Prefixes& prefixes_;
  const Direction* direction_;
  Run& run_;
  const int64_t V_;
  std::vector<int64_t> order_;  // prefixes by row, ascending
  LogitTangents result_;
};

}  // namespace

LogitTangents logit_tangents(const Model& model, const Prefixes& prefixes, const Direction* direction,
                             Run& run) {
  return Passes(model, prefixes, direction, run).run();
}

}  // namespace hf
