// Empirical-NTK Gram matrices K[f,f'] = ⟨∇f, ∇f'⟩ of scalar functions, summed or split by parameter or by the
// paper's components.
#pragma once

#include "ntk/functions.h"
#include "ntk/products.h"

namespace hf {

// Names and meaning follow neural-tangents' NtkImplementation (Novak et al. 2022).
enum class Implementation {
  // Per parameter from gradient pairs, without gradients: in ghost form or in blocked materialised form, by
  // cost.
  kStructuredDerivatives,
  // Gradients of blocks of functions, (block, P), and their products: the plainest.
  kJacobianContraction,
  // Column by column: J (Jᵀ e_f).
  kNtkVectorProducts,
};
inline constexpr const char* kImplementations[] = {"structured-derivatives", "jacobian-contraction",
                                                   "ntk-vector-products"};

// What the entries are summed into: one matrix; the representation, the gradient and the cross component; or
// one matrix per parameter, one of the classifier's use of a tied matrix, and one of the cross terms.
enum class Split { kTotal, kComponents, kParameters };

struct GramOptions {
  Implementation implementation = Implementation::kStructuredDerivatives;
  Split split = Split::kTotal;
  std::vector<bool> wanted;  // parameters
  int64_t max_bytes = 0;     // working memory beyond the result
};

// How a call would be done, before it is done.
struct GramPlan {
  std::vector<FunctionRange> blocks1, blocks2;  // blocks2 is empty when symmetric
  // Of matrix products: all of them, and those of forward, backward and forward-mode passes among them.
  double flops = 0, pass_flops = 0;
  int64_t bytes = 0;  // working memory of the largest step
  struct Choice {
    int parameter;
    bool ghost;
    double flops;
  };
  std::vector<Choice> choices;  // per matrix (a fused layer by its first weight), structured derivatives only
};

// Matrices of a split: kTotal 1, kComponents 3 (representation, gradient, cross), kParameters: parameters +
// classifier use + cross.
int64_t matrix_count(const Model& model, Split split);
// second = null: symmetric. ERR_OUT_OF_MEMORY when max_bytes cannot hold one function's step, naming both
// numbers and a cheaper way.
GramPlan plan_gram(const Model& model, const Functions& first, const Functions* second,
                   const GramOptions& options);
// matrices (matrix_count, F1, F2) float64, zero on entry.
void gram(const Model& model, const Functions& first, const Functions* second, const GramOptions& options,
          const GramPlan& plan, const View& matrices, Run& run);

// Cuts functions into blocks whose step stays within max_bytes: activations, one backward pass, and what the
// caller keeps of it, in numbers per gradient row and per function. *bytes: of the largest block.
std::vector<FunctionRange> plan_blocks(const Model& model, const Functions& functions, int64_t max_bytes,
                                       int64_t kept_per_row, int64_t kept_per_function, int64_t* bytes);

}  // namespace hf
