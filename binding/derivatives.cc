// Model methods about the logits and features of whole sequences, and their derivatives.
#include "ntk/derivatives.h"

#include "objects.h"
#include "options.h"
#include "packed.h"

namespace hf::binding {
namespace {

Convert outputs_result(std::shared_ptr<Context> context, Outputs outputs) {
  return [context, outputs = std::make_shared<Outputs>(std::move(outputs))](Napi::Env env) -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result.Set("logits", tensors_to_js(env, context, outputs->logits));
    result.Set("hiddenStates", tensors_to_js(env, context, outputs->features));
    return result;
  };
}

Want wanted_of(const Options& options) {
  const bool logits = options.flag("logits");
  const bool features = options.flag("hiddenStates");
  if (logits && features) return Want::kBoth;
  return logits ? Want::kLogits : Want::kFeatures;
}

// Tensors of an array, kept alive by a job.
std::vector<std::shared_ptr<ContextTensor>> tensors_of(Napi::Value value) {
  const Napi::Array list = value.As<Napi::Array>();
  std::vector<std::shared_ptr<ContextTensor>> tensors;
  for (uint32_t i = 0; i < list.Length(); ++i)
    tensors.push_back(TensorHandle::of(list.Get(i)));
  return tensors;
}

std::vector<View> views_of(const std::vector<std::shared_ptr<ContextTensor>>& tensors) {
  std::vector<View> views;
  for (const std::shared_ptr<ContextTensor>& tensor : tensors)
    views.push_back(tensor->tensor.view);
  return views;
}

}  // namespace

// (sequences, { logits, hiddenStates }, progress) → the same, one tensor per sequence
Napi::Value ModelHandle::forward(const Napi::CallbackInfo& info) {
  const Want want = wanted_of(Options("forward", info[1]));
  const auto packed = packed_sequences("forward", info[0], *get());
  return queue(info, info[2], [model = object_, packed, want](Run& run) -> Convert {
    return outputs_result(model->context(), hf::outputs(*model, packed->list(), want, run));
  });
}

// (sequences, tangent of P numbers, progress) → { logits, hiddenStates }: their tangents, per sequence
Napi::Value ModelHandle::jvp(const Napi::CallbackInfo& info) {
  const auto packed = packed_sequences("model.jvp", info[0], *get());
  const DType real = object_->context()->real();
  const auto tangent = host_numbers("model.jvp", "tangents", info[1], real, object_->size());
  return queue(info, info[2], [model = object_, packed, tangent](Run& run) -> Convert {
    const View direction = on_device(run, tangent->view());
    return outputs_result(model->context(), hf::jvp(*model, packed->list(), direction, run));
  });
}

// (sequences, cotangents, { wanted }, progress) → one tensor (k, …shape) per wanted parameter
Napi::Value ModelHandle::vjp(const Napi::CallbackInfo& info) {
  const auto packed = packed_sequences("model.vjp", info[0], *get());
  const auto tensors = tensors_of(info[1]);
  const std::vector<View> cotangents = views_of(tensors);
  check_cotangents("model.vjp", *object_, packed->list(), cotangents);
  const std::vector<bool> wanted = Options("model.vjp", info[2]).mask("wanted", object_->parameters().size());
  return queue(info, info[3], [model = object_, packed, tensors, cotangents, wanted](Run& run) -> Convert {
    const auto gradients =
        std::make_shared<std::vector<Tensor>>(hf::vjp(*model, packed->list(), cotangents, wanted, run));
    return [model, gradients](Napi::Env env) { return tensors_to_js(env, model->context(), *gradients); };
  });
}

}  // namespace hf::binding
