// The sink of kStructuredDerivatives: adds inner products of gradients to Gram matrices, parameter by
// parameter, from the pairs that the backward pass meets.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ntk/gram.h"
#include "ntk/pairs.h"
#include "ops/gram/token_gram.h"
#include "runtime/buffer.h"

namespace hf {

// The numbers (F1, F2) of one matrix of a split that belong to blocks of its rows and columns.
View matrix_block(const View& matrices, int64_t index, FunctionRange rows, FunctionRange columns);

// One gradient pair of a block, kept beyond the backward pass. Of a matrix: a and d; of a table: ids and d;
// of elements: d alone. The a's of matrices stay where the block has them, unless they pass
// (Linear::passing_input).
struct StoredPair {
  View a, d, ids;
  GradientRows rows;
  std::shared_ptr<Buffer> d_numbers, a_numbers;  // a_numbers where the block does not keep a
  std::vector<int32_t> id_numbers;
};
// In the order in which the backward pass meets them, which is the same for every block of a model.
using StoredPairs = std::vector<StoredPair>;

// Whose inner products a GramSink adds up. The live block is the one whose backward pass runs.
struct GramTask {
  // The rows of the matrices are those of an earlier block, whose pairs were stored; the live block's are the
  // columns. Null: the live block with itself, symmetric.
  const FunctionBlock* row_block = nullptr;
  const StoredPairs* row_pairs = nullptr;
  // Receives a copy of the live block's pairs, or null.
  StoredPairs* store = nullptr;
  // False: the pairs are stored and nothing else.
  bool multiply = true;
  // Is told how much of the block's work is done, in 0 … 1.
  std::function<void(double share)> progress;
};

class GramSink : public PairSink {
 public:
  GramSink(const FunctionBlock& block, const GramOptions& options, const View& matrices, GramTask task);

  void classifier(const View& hidden, const View& g, int64_t first_id, const View& offsets) override;
  void matrix(const Linear& linear, const MatrixPair& pair) override;
  void elements(int parameter, const View& gradients) override;
  void table(int parameter, const View& ids, const View& d, const View& offsets) override;

 private:
  // The outputs of a linear layer that go into one product, and the matrix that it is added to.
  struct Outputs {
    int64_t begin, count;
    bool bias;
    View gram;
  };

  const StoredPair* next_pair(const StoredPair& live, bool store_input);
  View gram_of(int parameter) const;
  View gram_of_classifier() const;
  View gram_of_cross() const;
  View gram_at(int64_t index) const;
  bool takes_all(const Linear& linear) const;
  void multiply(const MatrixPair& pair, const StoredPair* row_pair, const Outputs& outputs);
  void multiply_bias(const MatrixPair& pair, const StoredPair* row_pair, const LinearPart& part);
  void multiply_cheaper(const TokenGramArgs& ghost);
  void multiply_cross(const View& ids, const View& d, const View& offsets, const StoredPair* row_pair);
  int64_t count_steps() const;
  void step();

  const GramOptions& options_;
  const View& matrices_;
  const GramTask task_;
  const double steps_;
  double done_ = 0;
  size_t place_ = 0;  // of the next pair among row_pairs
};

}  // namespace hf
