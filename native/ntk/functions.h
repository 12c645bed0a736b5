// Scalar functions of a language model over shared forward passes: what every NTK call is about.
//
// A *function* is a sum of terms, each of which is a log-probability or a logit at some row of some sequence.
// Each mode of a call (sequence, token, logits) is a way to make this list; what becomes of the functions'
// gradients is a sink's business. A *block* is a range of functions that go through the model together.
#pragma once

#include <vector>

#include "model/forward.h"

namespace hf {

enum class Output {
  kLogp,   // f = Σ log π(target | row's prefix)
  kLogit,  // f = Σ z_target(row's prefix)
};

struct Functions {
  std::vector<int32_t> ids, offsets;  // packed sequences, (S+1)
  std::vector<int32_t> sequence;      // (F) ascending
  std::vector<int32_t> term_offsets;  // (F+1)
  std::vector<int32_t> rows;          // (terms) row of the packed sequences, ascending within a function
  std::vector<int32_t> targets;       // (terms) entry of the vocabulary
  Output output = Output::kLogp;

  int64_t count() const { return int64_t(sequence.size()); }
  int64_t first_row(int64_t f) const { return offsets[sequence[f]]; }
  // Rows that function f depends on. Attention is causal: those of its sequence up to its last term.
  int64_t length(int64_t f) const {
    const bool empty = term_offsets[f] == term_offsets[f + 1];
    return empty ? 0 : rows[term_offsets[f + 1] - 1] - first_row(f) + 1;
  }
};

// Functions begin … end − 1, with the sequences they use.
struct FunctionRange {
  int64_t begin, end;

  int64_t count() const { return end - begin; }
};
// Rows of gradients, and rows of activations, of a range.
int64_t gradient_rows(const Functions& functions, FunctionRange range);
int64_t activation_rows(const Functions& functions, FunctionRange range);

// A sink that the classifier's pair is given to as well, in slices of the vocabulary. The body's pairs come
// after them.
class FunctionSink : public GradientSink {
 public:
  // W (V, C): function s adds g_n ⊗ hidden_n for its rows n.  g (terms, width) holds columns first_id … of
  // the vocabulary.
  virtual void classifier(const View& hidden, const View& g, int64_t first_id, const View& offsets) = 0;
};

// One block of functions, its forward pass done, everything in the run's arena.
struct FunctionBlock {
  // `classifier`: gradients() will be asked with a sink that wants the classifier, and makes d_hidden there,
  // from the same slices of the vocabulary, rather than from logits of its own here. `keep` kLess: for sinks
  // that keep no pair beyond the call, and no directional().
  FunctionBlock(const Model& model, const Functions& functions, FunctionRange range, Run& run,
                bool classifier = false, Keep keep = Keep::kAll);

  int64_t count() const { return range.count(); }
  // (F) the functions' values.
  void values(const View& out) const;
  // Runs the sink over the classifier's pairs (if it wants the classifier) and the body's.
  void gradients(FunctionSink& sink) const;
  // (F) J t: derivatives along the flat tangent (P).
  void directional(const View& tangent, const View& out) const;

  // Multiplies function f by factors[f] (F, float64) in everything that follows: values stay, gradients
  // scale.
  void scale(const View& factors);

  // Columns first … first + width − 1 of the classifier's output gradient, (terms, width): 1[v = target] −
  // π_v, or 1[v = target]. In the run's real type, or in the type that it stores activations in.
  View output_gradient(int64_t first, int64_t width, DType dtype) const;
  // How many such columns are held at a time.
  int64_t slice_width() const;

  const Model& model;
  const Functions& functions;
  const FunctionRange range;
  Run& run;
  Activations activations;
  View terms;         // (F+1) offsets of terms
  View targets;       // (terms)
  View term_rows;     // (terms) rows of the activations
  GradientRows rows;  // of the body's gradients
  View hidden;        // (terms, C) features at the terms' rows
  View operand;       // the same as products read it: itself, or rounded to the type that the run stores
  View lse;           // (terms), kLogp
  View logps;         // (terms): log-probabilities, or logits
  View d_hidden;      // (terms, C) the functions' gradients by hidden; absent where gradients() makes them
  View term_scale;    // (terms) factors of scale(); absent: 1

 private:
  void index_terms();
  void index_rows();
  void take_log_probabilities();
  void take_logits();
  View take_classifier_gradients(FunctionSink& sink) const;
  View feature_gradients(const View& d) const;
  template <class Body>
  void for_each_slice(const Body& body) const;
  void sum_terms(const View& numbers, const View& out) const;
  int64_t first_sequence() const { return functions.sequence[range.begin]; }
  int32_t first_row() const { return functions.offsets[first_sequence()]; }
};

}  // namespace hf
