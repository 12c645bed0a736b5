// Which instruction sets this processor has and this system lets programs use.
#pragma once

namespace hf {

struct InstructionSets {
  bool avx2 = false;      // and FMA, F16C, BMI2: what cpu_avx2 is compiled for
  bool avx512 = false;    // and F, BW, VL, DQ on top of these: what cpu_avx512 is compiled for
  bool bf16_dot = false;  // and AVX512_BF16
};

const InstructionSets& instruction_sets();

}  // namespace hf
