#include "ntk/sketch.h"

#include "ntk/pairs.h"
#include "ops/op_table.h"
#include "ops/sketch/sketch_gram.h"

namespace hf {
namespace {

// Every parameter projects with a stream of its own; a tied matrix met twice uses its stream twice, so its
// cross terms are in the estimate.
class SketchSink : public PairSink {
 public:
  SketchSink(const FunctionBlock& block, const SketchOptions& options, const View& sketches)
      : PairSink(block, options.wanted), options_(options), sketches_(sketches) {}

  void classifier(const View& hidden, const View& g, int64_t first_id, const View& offsets) override {
    SketchArgs args = with(block_.model.classifier(), offsets);
    args.a = hidden, args.d = g, args.first_column = first_id;
    dispatch(args, run_);
  }

  void matrix(const Linear& linear, const MatrixPair& pair) override {
    for (const LinearPart& part : linear.parts) {
      const View d = pair.d.slice(1, part.begin, part.count);
      if (wants(part.weight)) {
        SketchArgs args = with(part.weight, pair.rows.offsets);
        args.a = pair.a, args.d = d, args.a_rows = pair.rows.a_rows;
        dispatch(args, run_);
      }
      if (part.bias >= 0 && wants(part.bias)) {
        SketchArgs args = with(part.bias, pair.rows.offsets);
        args.d = d;
        dispatch(args, run_);
      }
    }
  }

  void elements(int parameter, const View& gradients) override {
    const View offsets = arena_tensor(run_, DType::kI32, gradients.shape[0] + 1);
    for (int64_t f = 0; f <= gradients.shape[0]; ++f)
      offsets.as<int32_t>()[f] = int32_t(f);
    SketchArgs args = with(parameter, offsets);
    args.d = gradients;
    dispatch(args, run_);
  }

  void table(int parameter, const View& ids, const View& d, const View& offsets) override {
    SketchArgs args = with(parameter, offsets);
    args.a = d, args.ids = ids;
    dispatch(args, run_);
  }

 private:
  SketchArgs with(int parameter, const View& offsets) const {
    SketchArgs args;
    args.offsets = offsets, args.sketches = sketches_, args.stream = parameter;
    args.left = options_.left, args.seed = options_.seed, args.projection = options_.projection;
    return args;
  }

  const SketchOptions& options_;
  const View sketches_;
};

View sketches_of(const Model& model, const Functions& functions, const SketchOptions& options, int64_t done,
                 int64_t total, Run& run) {
  const View sketches = arena_tensor(run, run.real(), functions.count(), options.repeats, options.size);
  set_zero(run, sketches);
  int64_t bytes;
  // Per gradient row the projections of its input, beside the sketches themselves.
  for (const FunctionRange range : plan_blocks(model, functions, options.max_bytes,
                                               options.repeats * options.size / options.left, 0, &bytes)) {
    checkpoint(run);
    Scratch scratch(run);
    const FunctionBlock block(model, functions, range, run);
    SketchSink sink(block, options, sketches.slice(0, range.begin, range.end - range.begin));
    block.gradients(sink);
    report_progress(run, done + range.end, total);
  }
  return sketches;
}

}  // namespace

void sketched_gram(const Model& model, const Functions& first, const Functions* second,
                   const SketchOptions& options, const View& estimate, const View& half_width, Run& run) {
  Scratch scratch(run);
  const int64_t total = first.count() + (second ? second->count() : 0);
  SketchGramArgs args;
  args.sketches = sketches_of(model, first, options, 0, total, run);
  if (second) args.sketches2 = sketches_of(model, *second, options, first.count(), total, run);
  args.estimate = estimate, args.half_width = half_width, args.confidence = options.confidence;
  dispatch(args, run);
}

}  // namespace hf
