// How an op of the CUDA column begins: on_device(args, run, body) brings its arguments to the device, runs
// the body there, and brings results back.
//
// The engine's real numbers are device memory already. Its indices are host memory, and so are all arguments
// of kernels.<op> on typed arrays. What lies on the host is copied to scratch memory first (small arrays are
// found in the upload cache), and host outputs are copied back at the end, padding and all. The scratch
// memory is given back when on_device returns.
#pragma once

#include "backends/cuda/stream.h"
#include "ops/all.h"

namespace hf::cuda {

// A visitor of an op's arguments (Args::visit) that replaces host memory with device memory.
class Stager {
 public:
  explicit Stager(Run& run) : run_(run), stream_(stream_of(run)) {}
  void in(const char*, View& view, const char*, unsigned = 0) { read(view); }
  void out(const char*, View& view, const char*, unsigned = 0) { keep(view, !view.contiguous()); }
  void inout(const char*, View& view, const char*, unsigned = 0) { keep(view, true); }
  void number(const char*, double) {}
  void integer(const char*, int64_t) {}
  void flag(const char*, bool) {}
  template <class E>
  void choice(const char*, E, const char* const*, int) {}

  // Copies outputs back to the host.
  void finish() {
    for (int i = 0; i < count_; ++i)
      stream_.copy(outputs_[i].host, outputs_[i].device, outputs_[i].bytes);
  }

 private:
  // Bytes from the first to the last number.
  static int64_t extent(const View& view) {
    int64_t last = 0;
    for (int i = 0; i < view.rank; ++i)
      last += (view.shape[i] - 1) * view.stride[i];
    return (last + 1) * dtype_bytes(view.dtype);
  }
  void read(View& view) {
    if (!view || view.size() == 0 || stream_.owns(view.data)) return;
    if (void* kept = stream_.uploads().find(view.data, extent(view)))
      view.data = kept;
    else
      upload(view, true);
  }
  // Moves the view to scratch memory, with or without its contents; false when it is on the device already.
  bool upload(View& view, bool contents) {
    if (!view || view.size() == 0 || stream_.owns(view.data)) return false;
    const int64_t bytes = extent(view);
    void* copy = arena_allocate_numbers(run_, bytes);
    if (contents) stream_.copy(copy, view.data, bytes);
    view.data = copy;
    return true;
  }
  // An output: remembered, so that finish() brings it back.
  void keep(View& view, bool contents) {
    void* host = view.data;
    if (upload(view, contents)) outputs_[count_++] = {host, view.data, extent(view)};
  }

  Run& run_;
  Stream& stream_;
  struct Output {
    void* host;
    void* device;
    int64_t bytes;
  } outputs_[40];
  int count_ = 0;
};

// Calls body(device arguments, stream). `host` keeps the addresses that host code may read (indices).
template <class Args, class Body>
void on_device(const Args& host, Run& run, const Body& body) {
  Stream& stream = stream_of(run);
  stream.use();
  const UploadCache::Use use(stream.uploads());
  Scratch scratch(run);
  Stager stager(run);
  Args args = host;
  Args::visit(args, stager);
  body(args, stream);
  stager.finish();
}

// Scratch memory on the device, given back at the end of the enclosing on_device().
template <class T>
T* device_scratch(Run& run, int64_t count) {
  return static_cast<T*>(arena_allocate_numbers(run, count * static_cast<int64_t>(sizeof(T))));
}
// Host numbers on the device, for reading.
template <class T>
const T* device_copy(Run& run, const T* host, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if (count > 0) {
    if (void* kept = stream_of(run).uploads().find(host, bytes)) return static_cast<const T*>(kept);
  }
  T* copy = device_scratch<T>(run, count);
  stream_of(run).copy(copy, host, bytes);
  return copy;
}

// run(args, run) of every op of the table, each in the op's own room: ops/<family>/cuda/<op>.cu.
#define HF_OP(op, Forward, Backward, Jvp) \
  void run(const Forward&, Run&);         \
  void run(const Backward&, Run&);        \
  void run(const Jvp&, Run&);
#include "ops/op_list.inc"
#undef HF_OP

}  // namespace hf::cuda
