// The CUDA execution model on the host, as a machine that runs kernels and finds their mistakes.
//
// One block runs at a time. Its threads are fibers (fiber.h) that run until they wait for others (at a
// barrier, or in a function of a warp), in a shuffled order that a seed fixes (HEADFIRST_EMULATION_SEED).
// Every word of shared memory keeps its last writer and readers, and the interval between barriers in which
// they acted. So an access that no barrier orders is reported whether or not it did harm this time. Reported
// as well are indices outside a piece of shared memory, words that are read before anything wrote them,
// barriers and warp functions that not all threads reach, and asynchronous copies that are read before they
// were waited for. The launch throws errors as ERR_CUDA.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace hf::emulation {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  Dim3() = default;
  Dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

constexpr int kLanes = 32;

// What one thread of the running block is, for the functions that kernels call.
struct Thread;
Thread& current();
struct Position {
  Dim3 thread_index, block_index, block_size, grid_size;
};
const Position& position();

// ---- shared memory ----------------------------------------------------------------------------------------
// Offsets are bytes in the block's shared memory; a piece is [begin, begin + bytes).
char* shared_memory();
// The next piece of the calling thread, at a multiple of 16 bytes.
int take_shared(int bytes);
enum class Access { kRead, kWrite };
// Notes and checks an access of the calling thread to `bytes` at `offset`, which must lie in the piece.
void access_shared(Access access, int64_t offset, int bytes, int piece_begin, int piece_bytes);
// A copy that lands when the thread waits for it.
void copy_async(int64_t offset, int bytes, int piece_begin, int piece_bytes, const void* from, bool valid);
void commit_async();
void wait_async(int pending);

// ---- waiting for others -----------------------------------------------------------------------------------
// __syncthreads(); returns the sum of all threads' values.
int barrier(int value);
// __syncwarp()
void warp_barrier(unsigned mask);
// All lanes of `mask` meet in the function `name`. The last one to come calls combine(in, out, mask) with
// what each of them brought and wants.
void meet(const char* name, unsigned mask, const void* in, void* out,
          void (*combine)(const void* const* in, void* const* out, unsigned mask));

// Stops the kernel with an error that names block and thread.
[[noreturn]] __attribute__((format(printf, 1, 2))) void stop(const char* format, ...);

// Runs body() as every thread of every block.
void run_grid(Dim3 grid, Dim3 block, int shared_bytes, const std::function<void()>& body);

}  // namespace hf::emulation
