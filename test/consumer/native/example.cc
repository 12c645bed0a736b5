// A native addon of somebody else's that calls headfirst's kernels through headfirst.h, without JavaScript in
// between: plain Node-API.
#include <headfirst.h>
#include <node_api.h>

#include <chrono>
#include <string>
#include <vector>

namespace {

const headfirst_api_table* api = nullptr;

float* floats(napi_env env, napi_value value) {
  void* data = nullptr;
  napi_get_typedarray_info(env, value, nullptr, nullptr, &data, nullptr, nullptr);
  return static_cast<float*>(data);
}

napi_value text(napi_env env, const std::string& value) {
  napi_value result;
  napi_create_string_utf8(env, value.c_str(), value.size(), &result);
  return result;
}

// open(path) → '' or the reason.
napi_value open_addon(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  char path[4096];
  napi_get_value_string_utf8(env, argument, path, sizeof path, nullptr);
  api = headfirst_open(path);
  return text(env, api ? "" : dlerror());
}

struct Call {
  std::vector<napi_value> values;
  explicit Call(napi_env env, napi_callback_info info) : values(8) {
    size_t count = values.size();
    napi_get_cb_info(env, info, &count, values.data(), nullptr, nullptr);
  }
};

// Every function returns '' or '<code>: <message>'.
napi_value run(napi_env env, const char* op, const std::vector<headfirst_argument>& arguments,
               const headfirst_options* options = nullptr) {
  headfirst_error error;
  const int32_t status =
      api->run(api->find_op(op), arguments.data(), int32_t(arguments.size()), options, &error);
  return text(env,
              status == HEADFIRST_OK ? "" : std::string(api->status_name(status)) + ": " + error.message);
}

// c (4,2) = a (4,3) b (3,2) / 2
napi_value gemm(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return run(env, "gemm",
             {headfirst_matrix("a", floats(env, call.values[0]), HEADFIRST_F32, 4, 3),
              headfirst_matrix("b", floats(env, call.values[1]), HEADFIRST_F32, 3, 2),
              headfirst_matrix("c", floats(env, call.values[2]), HEADFIRST_F32, 4, 2),
              headfirst_number("alpha", 0.5)});
}

// gram (2,2) of a (4,3), d (4,5), offsets 0 2 4
napi_value token_gram(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return run(env, "token_gram",
             {headfirst_matrix("a", floats(env, call.values[0]), HEADFIRST_F32, 4, 3),
              headfirst_matrix("d", floats(env, call.values[1]), HEADFIRST_F32, 4, 5),
              headfirst_vector("offsets", floats(env, call.values[2]), HEADFIRST_I32, 3),
              headfirst_matrix("gram", floats(env, call.values[3]), HEADFIRST_F64, 2, 2)});
}

// hidden (4,3), weight (5,3), targets, coefficients (4) → logps (4), d_hidden (4,3)
napi_value policy_gradient(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  headfirst_options options = {sizeof(headfirst_options), nullptr, 2};
  return run(env, "linear_policy_gradient",
             {headfirst_matrix("hidden", floats(env, call.values[0]), HEADFIRST_F32, 4, 3),
              headfirst_matrix("weight", floats(env, call.values[1]), HEADFIRST_F32, 5, 3),
              headfirst_vector("targets", floats(env, call.values[2]), HEADFIRST_I32, 4),
              headfirst_vector("coefficients", floats(env, call.values[3]), HEADFIRST_F32, 4),
              headfirst_vector("logps", floats(env, call.values[4]), HEADFIRST_F32, 4),
              headfirst_matrix("d_hidden", floats(env, call.values[5]), HEADFIRST_F32, 4, 3),
              headfirst_choice("loss", "coefficients"), headfirst_number("temperature", 2)},
             &options);
}

// Wrong on purpose: c has the wrong shape; an argument that does not exist.
napi_value wrong_shape(napi_env env, napi_callback_info) {
  float numbers[4] = {};
  return run(env, "gemm",
             {headfirst_matrix("a", numbers, HEADFIRST_F32, 1, 1),
              headfirst_matrix("b", numbers + 1, HEADFIRST_F32, 1, 1),
              headfirst_matrix("c", numbers + 2, HEADFIRST_F32, 1, 2)});
}
napi_value wrong_name(napi_env env, napi_callback_info) {
  float numbers[4] = {};
  return run(env, "gemm",
             {headfirst_matrix("a", numbers, HEADFIRST_F32, 1, 1),
              headfirst_matrix("b", numbers + 1, HEADFIRST_F32, 1, 1),
              headfirst_matrix("c", numbers + 2, HEADFIRST_F32, 1, 1), headfirst_number("alhpa", 1)});
}

// Facts of the table as text.
napi_value facts(napi_env env, napi_callback_info) {
  return text(env, std::to_string(api->version) + " " + api->package_version + " " +
                       std::to_string(api->op_count) + " " + api->find_op("gemm")->fields[0].dims + " " +
                       (api->find_op("no_such_op") ? "?" : "none"));
}

// Nanoseconds of a 1 × 1 × 1 gemm through this interface: the kernel and its checks, without JavaScript.
napi_value gemm_nanoseconds(napi_env env, napi_callback_info) {
  float numbers[3] = {};
  const headfirst_argument arguments[] = {headfirst_matrix("a", numbers, HEADFIRST_F32, 1, 1),
                                          headfirst_matrix("b", numbers + 1, HEADFIRST_F32, 1, 1),
                                          headfirst_matrix("c", numbers + 2, HEADFIRST_F32, 1, 1)};
  const headfirst_op* op = api->find_op("gemm");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5000; ++i)
    api->run(op, arguments, 3, nullptr, nullptr);
  napi_value result;
  napi_create_double(
      env, std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count() / 5000,
      &result);
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  const std::pair<const char*, napi_callback> functions[] = {{"open", open_addon},
                                                             {"gemm", gemm},
                                                             {"tokenGram", token_gram},
                                                             {"policyGradient", policy_gradient},
                                                             {"wrongShape", wrong_shape},
                                                             {"wrongName", wrong_name},
                                                             {"facts", facts},
                                                             {"gemmNanoseconds", gemm_nanoseconds}};
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
