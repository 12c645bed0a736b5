// The packed panels of A that the tasks of a product share.
#pragma once

#include "backends/cpu/isa.h"

namespace hf::HF_ISA {
namespace {

// The packed panels of one part of A. A panel is packed by whichever task first takes it. Nobody waits: who
// finds another task at it packs the panel once more, for itself.
struct Shelf {
  enum State : uint8_t { kMissing, kTaken, kReady };

  // A panel that a task took: it may be read (kReady), or has to be packed and published for everybody
  // (kMissing), or packed for the task alone (kTaken).
  struct Panel {
    float* packed;
    State state;
  };

  float* memory;
  uint8_t* states;
  int64_t a0;  // panels [a0, a1)
  int64_t a1;
  int64_t k0;     // the first depth
  int64_t block;  // of depth
  int64_t height;

  // Where panel p goes at depth k, where its block is `depth` long.
  HF_INLINE float* place(int64_t p, int64_t k, int64_t depth) const {
    return memory + height * ((a1 - a0) * (k - k0) + (p - a0) * depth);
  }

  HF_INLINE bool ready(int64_t p, int64_t k) const {
    return __atomic_load_n(state(p, k), __ATOMIC_ACQUIRE) == kReady;
  }
  // own: memory of the task for a panel that another one is just packing.
  HF_INLINE Panel take(int64_t p, int64_t k, int64_t depth, float* own) const {
    uint8_t seen = __atomic_load_n(state(p, k), __ATOMIC_ACQUIRE);
    const bool taken_now =
        seen == kMissing &&
        __atomic_compare_exchange_n(state(p, k), &seen, kTaken, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE);
    if (taken_now) return {place(p, k, depth), kMissing};
    return {seen == kReady ? place(p, k, depth) : own, static_cast<State>(seen)};
  }
  HF_INLINE void publish(const Panel& panel, int64_t p, int64_t k) const {
    if (panel.state == kMissing) __atomic_store_n(state(p, k), kReady, __ATOMIC_RELEASE);
  }

 private:
  HF_INLINE uint8_t* state(int64_t p, int64_t k) const {
    return states + (k - k0) / block * (a1 - a0) + p - a0;
  }
};

}  // namespace
}  // namespace hf::HF_ISA
