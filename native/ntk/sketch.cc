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
    args.a = hidden;
    args.d = g;
    args.first_column = first_id;
    dispatch(args, run_);
  }

  void matrix(const Linear& linear, const MatrixPair& pair) override {
    for (const LinearPart& part : linear.parts) {
      const View d = pair.d.slice(1, part.begin, part.count);
      if (wants(part.weight)) {
        SketchArgs args = with(part.weight, pair.rows.offsets);
        args.a = pair.a;
        args.d = d;
        args.a_rows = pair.rows.a_rows;
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
    SketchArgs args = with(parameter, identity_offsets(gradients.shape[0], run_));
    args.d = gradients;
    dispatch(args, run_);
  }

  void table(int parameter, const View& ids, const View& d, const View& offsets) override {
    SketchArgs args = with(parameter, offsets);
    args.a = d;
    args.ids = ids;
    dispatch(args, run_);
  }

 private:
  SketchArgs with(int parameter, const View& offsets) const {
    return {
        .offsets = offsets,
        .sketches = sketches_,
        .left = options_.left,
        .seed = options_.seed,
        .stream = parameter,
        .projection = options_.projection,
    };
  }

  const SketchOptions& options_;
  const View sketches_;
};

View sketches_of(const Model& model, const Functions& functions, const SketchOptions& options, int64_t done,
                 int64_t total, Run& run) {
  const View sketches = arena_tensor(run, run.real(), functions.count(), options.repeats, options.size);
  set_zero(run, sketches);
  // Per gradient row the projections of its input, beside the sketches themselves.
  const int64_t kept_per_row = options.repeats * options.size / options.left;
  int64_t bytes;
  for (const FunctionRange range :
       plan_blocks(model, functions, options.max_bytes, kept_per_row, 0, &bytes)) {
    checkpoint(run);
    Scratch scratch(run);
    const FunctionBlock block(model, functions, range, run);
    SketchSink sink(block, options, sketches.slice(0, range.begin, range.count()));
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
  const View sketches = sketches_of(model, first, options, 0, total, run);
  const View sketches2 = second ? sketches_of(model, *second, options, first.count(), total, run) : View{};
  dispatch(
      SketchGramArgs{
          .sketches = sketches,
          .sketches2 = sketches2,
          .estimate = estimate,
          .half_width = half_width,
          .confidence = options.confidence,
      },
      run);
}

}  // namespace hf
