#include "emulation/hardware.h"

#include <bit>

namespace hf::emulation {

int lane_index() {
  const Position& p = position();
  return int((p.thread_index.z * p.block_size.y + p.thread_index.y) * p.block_size.x + p.thread_index.x) %
         kLanes;
}

namespace {

float bf16_half(uint32_t word, int half) {
  return std::bit_cast<float>(half ? word & 0xffff0000u : word << 16);
}

struct MmaIn {
  const uint32_t* a;
  const uint32_t* b;
};

// Lane 4 g + t holds a: words (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4), b: (t, g) (t + 4, g), c: (g, 2t)
// (g, 2t+1) (g+8, 2t) (g+8, 2t+1) (PTX ISA, "Matrix fragments for mma.m16n8k8" and "m16n8k16"). `kHalves`
// numbers to a word of depth.
template <int kHalves>
void combine_mma(const void* const* in, void* const* out, unsigned) {
  float a[16][8 * kHalves], b[8 * kHalves][8];
  const auto number = [](uint32_t word, int half) {
    return kHalves == 1 ? std::bit_cast<float>(word) : bf16_half(word, half);
  };
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const MmaIn& mine = *static_cast<const MmaIn*>(in[lane]);
    for (int r = 0; r < 4; ++r)
      for (int h = 0; h < kHalves; ++h)
        a[g + 8 * (r % 2)][(t + 4 * (r / 2)) * kHalves + h] = number(mine.a[r], h);
    for (int r = 0; r < 2; ++r)
      for (int h = 0; h < kHalves; ++h)
        b[(t + 4 * r) * kHalves + h][g] = number(mine.b[r], h);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    float* c = static_cast<float*>(out[lane]);
    for (int r = 0; r < 4; ++r) {
      double sum = 0;  // products are exact; the order of the hardware's sums is not documented
      for (int k = 0; k < 8 * kHalves; ++k)
        sum += double(a[g + 8 * (r / 2)][k]) * double(b[k][2 * t + r % 2]);
      c[r] = float(double(c[r]) + sum);
    }
  }
}

}  // namespace
}  // namespace hf::emulation

unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace hf::emulation;
  unsigned out;
  meet("__ballot_sync", mask, &predicate, &out, [](const void* const* in, void* const* out, unsigned mask) {
    unsigned votes = 0;
    for (int lane = 0; lane < kLanes; ++lane)
      if (mask >> lane & 1 && *static_cast<const int*>(in[lane])) votes |= 1u << lane;
    for (int lane = 0; lane < kLanes; ++lane)
      if (mask >> lane & 1) *static_cast<unsigned*>(out[lane]) = votes;
  });
  return out;
}

namespace hf::cuda {

uint32_t to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0xffffe000u;
  return (bits + 0x1000u) & 0xffffe000u;  // cvt.rna: ties away from zero
}
uint32_t to_bf16x2(float low, float high) {
  const auto round = [](float x) -> uint32_t {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits >> 16 | ((bits & 0xffffu) != 0 ? 1u : 0u);
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  };
  return round(low) | round(high) << 16;
}
uint32_t to_f16x2(float low, float high) {
  return std::bit_cast<uint16_t>(static_cast<_Float16>(low)) |
         uint32_t(std::bit_cast<uint16_t>(static_cast<_Float16>(high))) << 16;
}
float2 from_f16x2(uint32_t bits) {
  return {static_cast<float>(std::bit_cast<_Float16>(uint16_t(bits))),
          static_cast<float>(std::bit_cast<_Float16>(uint16_t(bits >> 16)))};
}

// Every lane reads what it gets, at the rows that the others name.
template <bool transposed>
static void ldmatrix(const char* name, uint32_t (&out)[2][2], Shared<uint32_t> row) {
  if (row.byte_offset(0) % 16 != 0)
    emulation::stop("%s of a row at shared byte %lld, which is not a multiple of 16", name,
                    static_cast<long long>(row.byte_offset(0)));
  Shared<uint32_t> rows[kWarp];
  emulation::meet(name, kAllLanes, &row, rows, [](const void* const* in, void* const* out, unsigned) {
    for (int lane = 0; lane < kWarp; ++lane)
      for (int i = 0; i < kWarp; ++i)
        static_cast<Shared<uint32_t>*>(out[lane])[i] = *static_cast<const Shared<uint32_t>*>(in[i]);
  });
  const int lane = emulation::lane_index(), g = lane / 4, t = lane % 4;
  for (int m = 0; m < 4; ++m) {
    const auto half = [&](int r) { return rows[8 * m + r][g / 2] >> g % 2 * 16 & 0xffffu; };
    out[m / 2][m % 2] = transposed ? half(2 * t) | half(2 * t + 1) << 16 : uint32_t(rows[8 * m + g][t]);
  }
}
void ldmatrix_x4(uint32_t (&out)[2][2], Shared<uint32_t> row) {
  ldmatrix<false>("ldmatrix_x4", out, row);
}
void ldmatrix_x4_trans(uint32_t (&out)[2][2], Shared<uint32_t> row) {
  ldmatrix<true>("ldmatrix_x4_trans", out, row);
}

void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  // The tensor cores ignore the low 13 bits; a kernel that forgot to round would only be less accurate there,
  // so it is an error here.
  for (uint32_t word : a)
    if (word & 0x1fffu) emulation::stop("mma_tf32: an operand was not rounded with to_tf32");
  for (uint32_t word : b)
    if (word & 0x1fffu) emulation::stop("mma_tf32: an operand was not rounded with to_tf32");
  const emulation::MmaIn in{a, b};
  emulation::meet("mma_tf32", kAllLanes, &in, c, &emulation::combine_mma<1>);
}
void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const emulation::MmaIn in{a, b};
  emulation::meet("mma_bf16", kAllLanes, &in, c, &emulation::combine_mma<2>);
}

}  // namespace hf::cuda
