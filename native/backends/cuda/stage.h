// Arguments of an op on the device. The engine's real numbers are there already; its indices are host memory,
// as are all arguments of kernels.<op> on typed arrays. What is on the host goes to scratch memory first, and
// host outputs come back, padding and all.
#pragma once

#include "backends/cuda/stream.h"
#include "ops/all.h"

namespace hf::cuda {

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

  void finish() {
    for (int i = 0; i < count_; ++i)
      stream_.copy(outputs_[i].host, outputs_[i].device, outputs_[i].bytes);
  }

 private:
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
  bool upload(View& view, bool contents) {
    if (!view || view.size() == 0 || stream_.owns(view.data)) return false;
    const int64_t bytes = extent(view);
    void* copy = arena_allocate_numbers(run_, bytes);
    if (contents) stream_.copy(copy, view.data, bytes);
    view.data = copy;
    return true;
  }
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

// body(device arguments, stream); `host` keeps the addresses that host code may read (indices).
template <class Args, class Body>
void on_device(const Args& host, Run& run, const Body& body) {
  Stream& stream = stream_of(run);
  stream.use();
  struct Op {
    UploadCache& uploads;
    explicit Op(UploadCache& u) : uploads(u) { uploads.enter(); }
    ~Op() { uploads.leave(); }
  } op(stream.uploads());
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
  if (count > 0)
    if (void* kept = stream_of(run).uploads().find(host, bytes)) return static_cast<const T*>(kept);
  T* copy = device_scratch<T>(run, count);
  stream_of(run).copy(copy, host, bytes);
  return copy;
}

// Every op of the table: run(args, run), one file each.
#define HF_OP(op, Forward, Backward, Jvp) \
  void run(const Forward&, Run&);         \
  void run(const Backward&, Run&);        \
  void run(const Jvp&, Run&);
#include "ops/op_list.inc"
#undef HF_OP

}  // namespace hf::cuda
