// Tiles of a B of bfloat16, columns along k.
#include "ops/linear/cpu/gemm_tile_along_k.h"

namespace hf::HF_ISA {

AlongK<uint16_t> kernel_along_k_bf16(int64_t rows) {
  return choose_along_k<uint16_t>(rows);
}

}  // namespace hf::HF_ISA
