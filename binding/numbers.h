// Numbers between JavaScript and native memory: the room where elements are read and written. The rest of the
// binding hands whole arrays on.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "runtime/buffer.h"
#include "runtime/context.h"

namespace hf::binding {

// Numbers copied out of JavaScript, or made for it; a job that uses them shares them.
struct HostNumbers {
  std::vector<char> bytes;
  DType dtype = DType::kF32;

  int64_t count() const { return int64_t(bytes.size()) / dtype_bytes(dtype); }
  View view() { return make_view(bytes.data(), dtype, count()); }
};
std::shared_ptr<HostNumbers> new_numbers(DType dtype, int64_t count);
// A typed array's numbers, converted to `dtype`, copied at once. ERR_SHAPE unless there are `expected` of
// them.
std::shared_ptr<HostNumbers> host_numbers(const char* function, const char* name, Napi::Value value,
                                          DType dtype, int64_t expected);
// The same as bytes; expected < 0: any number of them.
std::vector<char> copy_numbers(const char* function, const char* name, Napi::Value value, DType dtype,
                               int64_t expected);
// … and of doubles.
std::vector<double> copy_doubles(const char* function, const char* name, Napi::Value value, int64_t expected);

// dst[i] = src[i] over all of dst, converting; both contiguous.
void convert_numbers(const View& src, const View& dst);
// A tensor of the context with the numbers of `source` (contiguous), converted to the context's real type.
Tensor copy_tensor(const std::shared_ptr<Context>& context, const View& source);

// A fresh typed array of that type.
Napi::Value typed_array(Napi::Env env, DType dtype, const void* data, int64_t count);
Napi::Value numbers_to_js(Napi::Env env, HostNumbers& numbers);
Napi::Value doubles_to_js(Napi::Env env, const std::vector<double>& numbers);
Napi::Value floats_to_js(Napi::Env env, const std::vector<double>& numbers);  // rounded: a Float32Array
Napi::Value integers_to_js(Napi::Env env, const std::vector<int32_t>& numbers);
Napi::Value bytes_to_js(Napi::Env env, const std::vector<uint8_t>& numbers);
// (count, size) numbers, row by row, as an array of Float64Arrays.
Napi::Array rows_to_js(Napi::Env env, const std::vector<double>& numbers, int64_t count);

// A job that copies `view` (contiguous), which `keep` owns, into a fresh Float32Array or Float64Array.
Napi::Value read_view(Napi::Env env, const std::shared_ptr<Context>& context, std::shared_ptr<void> keep,
                      View view);
// A job that fills `target`, which `keep` owns, from a file: path, byte offset and dtype are arguments first,
// first + 1, first + 2 of `info`. `after` runs in the same job.
Napi::Value load_view(const char* function, const Napi::CallbackInfo& info, size_t first,
                      const std::shared_ptr<Context>& context, std::shared_ptr<void> keep, View target,
                      std::function<void(Run&)> after = {});

}  // namespace hf::binding
