#include "policy.h"

#include <cstring>

#include "env.h"
#include "loss_arrays.h"
#include "objects.h"
#include "ops/op_table.h"
#include "options.h"
#include "views.h"

namespace hf::binding {
namespace {

bool is_tensor(Napi::Value value) {
  return value.IsObject() && value.As<Napi::Object>().InstanceOf(EnvData::of(value.Env()).tensor.Value());
}

const std::shared_ptr<ContextTensor>& tensor_in(Napi::Value value) {
  return TensorHandle::Unwrap(value.As<Napi::Object>())->get("tensor");
}

// The one that was given, or that of the tensors.
std::shared_ptr<Context> context_of(Napi::Value given, const Options& options) {
  if (given.IsObject()) return ContextHandle::Unwrap(given.As<Napi::Object>())->get("context");
  for (const char* name : {"hidden", "weight", "refHidden", "refWeight"})
    if (is_tensor(options.get(name))) return tensor_in(options.get(name))->context;
  fail(ErrorCode::kInvalidArg, "%s: a context is required", options.function());
}

// A matrix argument: a tensor as it is, { data, shape } copied into the context's memory.
Tensor matrix(const Options& options, const char* name, const std::shared_ptr<Context>& context) {
  if (!options.has(name)) return {};
  const Napi::Value value = options.get(name);
  Tensor tensor;
  if (is_tensor(value)) {
    HF_CHECK(tensor_in(value)->context == context, ErrorCode::kInvalidArg,
             "%s: the tensor %s belongs to another context; make it with Tensor.from(context, …)",
             options.function(), name);
    tensor = tensor_in(value)->tensor;
  } else {
    const View view = view_of(options.function(), name, value);
    HF_CHECK(view.contiguous(), ErrorCode::kShape, "%s: %s must lie row by row without gaps",
             options.function(), name);
    HF_CHECK(view.dtype == DType::kF32 || view.dtype == DType::kF64, ErrorCode::kDtype,
             "%s: %s must be a Float32Array or Float64Array", options.function(), name);
    tensor = copy_tensor(context, view);
  }
  HF_CHECK(tensor.view.rank == 2, ErrorCode::kShape, "%s: %s must be a matrix, got %d dimensions",
           options.function(), name, tensor.view.rank);
  return tensor;
}

// Everything the job reads and writes, kept alive by it.
struct Call {
  Tensor hidden, weight, ref_hidden, ref_weight;
  std::vector<int32_t> targets, offsets;
  std::vector<char> bias, ref_bias;
  std::shared_ptr<LossArrays> arrays;
  Tensor d_hidden, d_weight;
  LinearPolicyGradientArgs args;
};

View numbers(const Options& options, const char* name, DType real, std::vector<char>& into) {
  if (!options.has(name)) return View{};
  into = copy_numbers(options.function(), name, options.get(name), real, -1);
  into.reserve(1);  // a view of no numbers needs an address too
  return make_view(into.data(), real, int64_t(into.size()) / dtype_bytes(real));
}

View indices(const Options& options, const char* name, std::vector<int32_t>& into) {
  const std::vector<char> bytes = copy_numbers(options.function(), name, options.get(name), DType::kI32, -1);
  into.resize(bytes.size() / sizeof(int32_t));
  into.reserve(1);
  if (!bytes.empty()) std::memcpy(into.data(), bytes.data(), bytes.size());
  return make_view(into.data(), DType::kI32, int64_t(bytes.size() / sizeof(int32_t)));
}

// The arrays of the options that are particular to this call, beside those of the loss.
void read_inputs(const Options& options, const std::shared_ptr<Context>& context, Call& call) {
  const DType real = context->real();
  call.hidden = matrix(options, "hidden", context);
  call.weight = matrix(options, "weight", context);
  call.ref_hidden = matrix(options, "refHidden", context);
  call.ref_weight = matrix(options, "refWeight", context);
  call.arrays = loss_of(options, call.hidden.view.shape[0], real, true);

  LinearPolicyGradientArgs& args = call.args;
  args = call.arrays->batch.loss;
  args.hidden = call.hidden.view;
  args.weight = call.weight.view;
  args.bias = numbers(options, "bias", real, call.bias);
  args.targets = indices(options, "targets", call.targets);
  if (options.has("offsets")) args.offsets = indices(options, "offsets", call.offsets);
  args.ref_hidden = call.ref_hidden.view;
  args.ref_weight = call.ref_weight.view;
  args.ref_bias = numbers(options, "refBias", real, call.ref_bias);
}

// Inputs and results that have one number per row.
void set_rows(const PolicyBatch& batch, LinearPolicyGradientArgs& args) {
  args.coefficients = batch.coefficients;
  args.entropy_coefficients = batch.entropy_coefficients;
  args.advantages = batch.advantages;
  args.old_logps = batch.old_logps;
  args.ref_logps = batch.ref_logps;
  args.weights = batch.weights;
  args.logps = batch.logps;
  args.entropy = batch.entropy;
  args.max_prob = batch.max_prob;
  args.argmax = batch.argmax;
  args.losses = batch.losses;
  args.kl_out = batch.kl;
  args.ratio = batch.ratio;
  args.clipped = batch.clipped;
}

// Memory for the gradients that are wanted, zeros.
void allocate_gradients(const Options& options, const Context& context, Call& call) {
  const View &hidden = call.hidden.view, &weight = call.weight.view;
  if (options.flag("gradHidden"))
    call.d_hidden = Tensor::create(context.counter(), context.real(), hidden.shape[0], hidden.shape[1]);
  if (options.flag("gradWeight"))
    call.d_weight = Tensor::create(context.counter(), context.real(), weight.shape[0], weight.shape[1]);
  call.args.d_hidden = call.d_hidden.view;
  call.args.d_weight = call.d_weight.view;
}

// (context, options, onProgress) → { promise, cancel } of the scores and, when asked for, the gradients as
// tensors.
Napi::Value policy_gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("policyGradient", info[1]);
    const std::shared_ptr<Context> context = context_of(info[0], options);
    auto call = std::make_shared<Call>();
    read_inputs(options, context, *call);
    set_rows(call->arrays->batch, call->args);
    allocate_gradients(options, *context, *call);
    Run shapes;
    shapes.backend = context->backend();
    validate(call->args, shapes, /*check_overlap=*/false);
    return EnvData::of(info.Env()).submit(context, info[2], [call, context](Run& run) -> Convert {
      run.one_op = true;
      dispatch(call->args, run);
      return [call, context](Napi::Env env) -> Napi::Value {
        Napi::Object result = call->arrays->to_js(env);
        if (call->d_hidden.buffer) result.Set("gradHidden", TensorHandle::wrap(env, context, call->d_hidden));
        if (call->d_weight.buffer) result.Set("gradWeight", TensorHandle::wrap(env, context, call->d_weight));
        return result;
      };
    });
  });
}

}  // namespace

void init_policy(Napi::Env env, Napi::Object exports) {
  exports.Set("policyGradient", Napi::Function::New<policy_gradient>(env, "policyGradient"));
  exports.Set("losses", losses_to_js(env));
}

}  // namespace hf::binding
