// Tiles of a B of float32, columns along k.
#include "ops/linear/cpu/gemm_tile_along_k.h"

namespace hf::HF_ISA {

AlongK<float> kernel_along_k(int64_t rows) {
  return choose_along_k<float>(rows);
}

}  // namespace hf::HF_ISA
