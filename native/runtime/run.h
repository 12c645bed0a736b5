// What an op is given besides its arguments: where to run, scratch memory, and a way to notice that nobody
// waits any more.
#pragma once

#include <stdint.h>

#include "core/macros.h"
#include "core/view.h"

namespace hf {

// An implementation column of the op table. The reference columns are plain loops: kReference64 is the oracle
// and the whole engine's fp64 mode, kReference32 the naive float32 evaluation that the accuracy rule compares
// with.
enum class Backend : int32_t { kReference32, kReference64, kCpuBase, kCpuAvx2, kCpuAvx512, kCuda };
constexpr int kBackendCount = 6;

// How float32 matrix products are done: exactly, or with operands rounded, for the tensor cores of a GPU or
// (kBf16) for AVX512_BF16, where op gemm has it. Sums are float32 in any case. Other columns of the CPU
// ignore it.
enum class Math : int32_t { kExact, kTf32, kBf16 };

HF_INLINE DType real_type(Backend backend) {
  return backend == Backend::kReference64 ? DType::kF64 : DType::kF32;
}
// What activations between matrix products, and weights for them, are stored in: in bf16 math a device's
// products would round them in any case.
HF_INLINE DType stored_type(Backend backend, Math math) {
  return backend == Backend::kCuda && math == Math::kBf16 ? DType::kBF16 : real_type(backend);
}

class Arena;
class Device;
class JobControl;

struct Run {
  Backend backend = Backend::kCpuBase;
  int32_t threads = 1;
  Math math = Math::kExact;
  // Activations and scratch of this job, freed as a stack (Scratch).
  Arena* arena = nullptr;
  // Null: everything is host memory. Else real numbers are the device's, in device_arena, and indices and
  // float64 the host's.
  Device* device = nullptr;
  Arena* device_arena = nullptr;
  // Not null on a run that only counts memory (runtime/counting_run.h): where real numbers are counted. An op
  // takes its scratch memory then, and does nothing else.
  Arena* counting = nullptr;
  JobControl* control = nullptr;  // cancellation and progress; null for synchronous calls
  bool one_op = false;            // the job is one op, whose progress is the job's

  HF_INLINE DType stored() const { return stored_type(backend, math); }
  HF_INLINE DType real() const { return real_type(backend); }
};

struct ArenaMark {
  int64_t host, numbers;
};
// 64-byte aligned host memory from the run's arena, valid until the enclosing Scratch ends. Never null:
// ERR_OUT_OF_MEMORY instead.
void* arena_allocate(Run& run, int64_t bytes);
// The same where the run's real numbers live.
void* arena_allocate_numbers(Run& run, int64_t bytes);
ArenaMark arena_mark(Run& run);
void arena_release(Run& run, ArenaMark mark);

// Contiguous views of one size, each on the host or on the run's device.
void copy_numbers(Run& run, const View& to, const View& from);
void set_zero(Run& run, const View& contiguous);
// The same numbers where the run's tensors live: `host` itself (contiguous), or a copy in the run's arena.
View on_device(Run& run, const View& host);

// Everything allocated from the run's arena while this lives is given back at its end.
struct Scratch {
  Run& run;
  ArenaMark mark;
  HF_HOST_INLINE explicit Scratch(Run& r) : run(r), mark(arena_mark(r)) {}
  HF_HOST_INLINE ~Scratch() { arena_release(run, mark); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  HF_HOST_INLINE T* allocate(int64_t count) {
    return static_cast<T*>(arena_allocate(run, count * static_cast<int64_t>(sizeof(T))));
  }
};

// A contiguous tensor in the run's arena; contents are undefined. On a run with a device, float32 and bytes
// are device memory, which only ops, copy_numbers and set_zero may touch; indices and float64 are host memory
// everywhere.
template <class... Dims>
HF_HOST_INLINE View arena_tensor(Run& run, DType dtype, Dims... dims) {
  View v = make_view(nullptr, dtype, dims...);
  v.data = dtype == DType::kI32 || (dtype == DType::kF64 && dtype != run.real())
               ? arena_allocate(run, v.bytes())
               : arena_allocate_numbers(run, v.bytes());
  return v;
}

// The same in host memory on every run: small vectors that host code fills or reads. Ops take them to the
// device and back.
template <class... Dims>
HF_HOST_INLINE View host_tensor(Run& run, DType dtype, Dims... dims) {
  View v = make_view(nullptr, dtype, dims...);
  v.data = arena_allocate(run, v.bytes());
  return v;
}

// Throws ERR_ABORTED once the job was cancelled. Called between ops and between tiles: at most about 50 ms
// apart.
void checkpoint(Run& run);
// Progress of the job. Coalesced: the caller sees the latest value, not every one.
void report_progress(Run& run, int64_t done, int64_t total);
// Progress of an op, which is nothing where the job is more than the op.
HF_HOST_INLINE void report_op_progress(Run& run, int64_t done, int64_t total) {
  if (run.one_op) report_progress(run, done, total);
}

// Calls fn(context, task) for every task in [0, tasks), on up to run.threads threads. Which thread runs a
// task is not defined, so a caller keeps results independent of it: what is summed in which order depends on
// shapes only, never on the thread count.
void run_tasks(Run& run, int64_t tasks, void (*fn)(void* context, int64_t task), void* context);

template <class Body>
HF_HOST_INLINE void parallel_for(Run& run, int64_t tasks, const Body& body) {
  if (tasks <= 0) return;
  if (tasks == 1 || run.threads == 1) {
    for (int64_t task = 0; task < tasks; ++task)
      body(task);
    return;
  }
  run_tasks(run, tasks, [](void* context, int64_t task) { (*static_cast<const Body*>(context))(task); },
            const_cast<Body*>(&body));
}

}  // namespace hf
