#include "ntk/gram_sink.h"

#include <algorithm>

#include "ntk/plan.h"
#include "ops/op_table.h"

namespace hf {
namespace {

template <class Args>
void set_first(Args& args, const View& a, const View& d, const GradientRows& rows) {
  args.a = a;
  args.d = d;
  args.offsets = rows.offsets;
  args.a_rows = rows.a_rows;
}

// The first set of `args` becomes the columns of the matrix, and the given one its rows.
template <class Args>
void set_rows(Args& args, const View& a, const View& d, const GradientRows& rows) {
  args.a2 = args.a;
  args.d2 = args.d;
  args.offsets2 = args.offsets;
  args.a_rows2 = args.a_rows;
  set_first(args, a, d, rows);
}

}  // namespace

View matrix_block(const View& matrices, int64_t index, FunctionRange rows, FunctionRange columns) {
  const int64_t F1 = matrices.shape[1], F2 = matrices.shape[2];
  return make_view(matrices.as<double>() + index * F1 * F2, DType::kF64, F1, F2)
      .slice(0, rows.begin, rows.end - rows.begin)
      .slice(1, columns.begin, columns.end - columns.begin);
}

GramSink::GramSink(const FunctionBlock& block, const GramOptions& options, const View& matrices,
                   GramTask task)
    : PairSink(block, options.wanted),
      options_(options),
      matrices_(matrices),
      task_(std::move(task)),
      steps_(double(std::max<int64_t>(count_steps(), 1))) {}

// ---- the pairs ----

void GramSink::classifier(const View& hidden, const View& g, int64_t first_id, const View& offsets) {
  if (!task_.multiply) return;
  Scratch scratch(run_);
  TokenGramArgs args;
  args.accumulate = true;
  args.gram = gram_of_classifier();
  set_first(args, hidden, g, {offsets, View{}});
  if (const FunctionBlock* rows = task_.row_block)
    set_rows(args, rows->operand, rows->output_gradient(first_id, g.shape[1], g.dtype),
             {rows->terms, View{}});
  multiply_cheaper(args);
  step();
}

void GramSink::matrix(const Linear& linear, const MatrixPair& pair) {
  StoredPair live;
  live.a = pair.a;
  live.d = pair.d;
  live.rows = pair.rows;
  const StoredPair* row_pair = next_pair(live, linear.passing_input);
  if (!task_.multiply) return;
  if (options_.split != Split::kParameters && takes_all(linear)) {
    const LinearPart& first = linear.parts.front();
    multiply(pair, row_pair,
             {.begin = 0, .count = linear.out(), .bias = first.bias >= 0, .gram = gram_of(first.weight)});
  } else {
    for (const LinearPart& part : linear.parts) {
      if (wants(part.weight))
        multiply(pair, row_pair,
                 {.begin = part.begin, .count = part.count, .bias = false, .gram = gram_of(part.weight)});
      if (part.bias >= 0 && wants(part.bias)) multiply_bias(pair, row_pair, part);
    }
  }
  step();
}

void GramSink::elements(int parameter, const View& gradients) {
  StoredPair live;
  live.d = gradients;
  const StoredPair* row_pair = next_pair(live, false);
  if (!task_.multiply) return;
  Scratch scratch(run_);
  TokenGramArgs args;
  args.accumulate = true;
  args.gram = gram_of(parameter);
  set_first(args, View{}, gradients, {identity_offsets(gradients.shape[0], run_), View{}});
  if (row_pair) set_rows(args, View{}, row_pair->d, {identity_offsets(row_pair->d.shape[0], run_), View{}});
  dispatch(args, run_);
}

void GramSink::table(int parameter, const View& ids, const View& d, const View& offsets) {
  StoredPair live;
  live.d = d;
  live.ids = ids;
  live.rows.offsets = offsets;
  const StoredPair* row_pair = next_pair(live, false);
  if (!task_.multiply) return;
  EmbeddingGramArgs args;
  args.accumulate = true;
  args.gram = gram_of(parameter);
  args.ids = ids;
  args.d = d;
  args.offsets = offsets;
  if (row_pair) {
    args.ids2 = ids;
    args.d2 = d;
    args.offsets2 = offsets;
    args.ids = row_pair->ids;
    args.d = row_pair->d;
    args.offsets = row_pair->rows.offsets;
  }
  dispatch(args, run_);
  if (parameter == block_.model.classifier()) multiply_cross(ids, d, offsets, row_pair);
}

// Stores the live block's pair if asked to, and returns the row block's pair of the same place in the model.
const StoredPair* GramSink::next_pair(const StoredPair& live, bool store_input) {
  if (task_.store) {
    StoredPair& pair = task_.store->emplace_back(live);
    const auto keep = [this](View& numbers) {
      auto buffer = Buffer::create(numbers.bytes(), block_.model.context()->counter());
      const View copy = make_view(buffer->data(), numbers.dtype, numbers.shape[0], numbers.shape[1]);
      copy_rows(numbers, copy, run_);
      numbers = copy;
      return buffer;
    };
    if (store_input) pair.a_numbers = keep(pair.a);
    pair.d_numbers = keep(pair.d);
    if (live.ids) {
      const int32_t* ids = live.ids.as<int32_t>();
      pair.id_numbers.assign(ids, ids + live.ids.shape[0]);
      pair.ids = make_view(pair.id_numbers.data(), DType::kI32, live.ids.shape[0]);
    }
  }
  return task_.row_pairs ? &(*task_.row_pairs)[place_++] : nullptr;
}

// ---- where products go ----

View GramSink::gram_at(int64_t index) const {
  const FunctionRange rows = task_.row_block ? task_.row_block->range : block_.range;
  return matrix_block(matrices_, index, rows, block_.range);
}

View GramSink::gram_of(int parameter) const {
  switch (options_.split) {
    case Split::kTotal: return gram_at(0);
    case Split::kComponents: return gram_at(1);
    case Split::kParameters: return gram_at(parameter);
  }
  return View{};
}

View GramSink::gram_of_classifier() const {
  const int64_t parameters = int64_t(block_.model.parameters().size());
  return gram_at(options_.split == Split::kParameters ? parameters : 0);
}

View GramSink::gram_of_cross() const {
  const int64_t parameters = int64_t(block_.model.parameters().size());
  switch (options_.split) {
    case Split::kTotal: return gram_at(0);
    case Split::kComponents: return gram_at(2);
    case Split::kParameters: return gram_at(parameters + 1);
  }
  return View{};
}

// ---- the products ----

// Whether all of the layer's parameters go into one product: all are wanted, and all parts have a bias or
// none has.
bool GramSink::takes_all(const Linear& linear) const {
  const bool biased = linear.parts.front().bias >= 0;
  return std::all_of(linear.parts.begin(), linear.parts.end(), [&](const LinearPart& part) {
    return wants(part.weight) && (part.bias >= 0) == biased && (!biased || wants(part.bias));
  });
}

void GramSink::multiply(const MatrixPair& pair, const StoredPair* row_pair, const Outputs& outputs) {
  TokenGramArgs args;
  args.accumulate = true;
  args.bias = outputs.bias;
  args.gram = outputs.gram;
  set_first(args, pair.a, pair.d.slice(1, outputs.begin, outputs.count), pair.rows);
  if (row_pair)
    set_rows(args, row_pair->a, row_pair->d.slice(1, outputs.begin, outputs.count), row_pair->rows);
  multiply_cheaper(args);
}

// A bias alone: its gradients are row sums.
void GramSink::multiply_bias(const MatrixPair& pair, const StoredPair* row_pair, const LinearPart& part) {
  Scratch scratch(run_);
  const auto sums_of = [&](const View& d, const View& offsets) {
    return function_sums(d.slice(1, part.begin, part.count), View{}, offsets);
  };
  const View sums = sums_of(pair.d, pair.rows.offsets);
  TokenGramArgs args;
  args.accumulate = true;
  args.gram = gram_of(part.bias);
  set_first(args, View{}, sums, {identity_offsets(sums.shape[0], run_), View{}});
  if (row_pair) {
    const View row_sums = sums_of(row_pair->d, row_pair->rows.offsets);
    set_rows(args, View{}, row_sums, {identity_offsets(row_sums.shape[0], run_), View{}});
  }
  dispatch(args, run_);
}

// In ghost form, or from blocks of per-sample gradients: whichever is cheaper.
void GramSink::multiply_cheaper(const TokenGramArgs& ghost) {
  const JacobianGramArgs blocked{
      .a = ghost.a,
      .d = ghost.d,
      .offsets = ghost.offsets,
      .a_rows = ghost.a_rows,
      .a2 = ghost.a2,
      .d2 = ghost.d2,
      .offsets2 = ghost.offsets2,
      .a_rows2 = ghost.a_rows2,
      .gram = ghost.gram,
      .bias = ghost.bias,
      .accumulate = true,
      .max_bytes = gradient_block_bytes(run_.device, options_.max_bytes),
  };
  if (ghost_is_cheaper(ghost, blocked))
    dispatch(ghost, run_);
  else
    dispatch(blocked, run_);
}

// A tied matrix: its use as classifier by one function against its use as embedding by the other, both ways.
void GramSink::multiply_cross(const View& ids, const View& d, const View& offsets,
                              const StoredPair* row_pair) {
  const int64_t V = block_.model.spec().vocab_size, slice = block_.slice_width();
  for (int64_t first = 0; first < V; first += slice) {
    checkpoint(run_);
    Scratch scratch(run_);
    const int64_t width = std::min(slice, V - first);
    TiedGramArgs live{
        .phi = block_.hidden,
        .g = block_.output_gradient(first, width, run_.real()),
        .offsets = block_.terms,
        .first_id = first,
        .accumulate = true,
    };
    if (!row_pair) {
      live.ids = ids;
      live.delta = d;
      live.offsets2 = offsets;
      live.gram = gram_of_cross();
      live.symmetrize = true;
      dispatch(live, run_);
      continue;
    }
    // The live block's classifier with the row block's embedding: columns by rows, so transposed.
    live.ids = row_pair->ids;
    live.delta = row_pair->d;
    live.offsets2 = row_pair->rows.offsets;
    live.gram = gram_of_cross().transposed();
    dispatch(live, run_);
    dispatch(
        TiedGramArgs{
            .phi = task_.row_block->hidden,
            .g = task_.row_block->output_gradient(first, width, run_.real()),
            .offsets = task_.row_block->terms,
            .ids = ids,
            .delta = d,
            .offsets2 = offsets,
            .gram = gram_of_cross(),
            .first_id = first,
            .accumulate = true,
        },
        run_);
  }
}

// ---- progress ----

// The classifier's slices and the body's linear layers, which are nearly all of the work.
int64_t GramSink::count_steps() const {
  const Model& model = block_.model;
  const int64_t V = model.spec().vocab_size, slice = block_.slice_width();
  int64_t steps = wants(model.classifier()) ? (V + slice - 1) / slice : 0;
  for (int l = 0; l < model.spec().layers; ++l)
    for_each_linear(model.layer(l), [&](const Linear& linear) {
      steps += wants(linear);
      for (const Adapter& adapter : linear.adapters)
        steps += wants(adapter.up) + wants(adapter.down);
    });
  return steps;
}

void GramSink::step() {
  ++done_;
  if (task_.progress) task_.progress(std::min(done_ / steps_, 1.0));
}

}  // namespace hf
