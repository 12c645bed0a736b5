// Model methods about gradients of functions: Gram matrices, per-sample gradients, Jacobian products.
#include <algorithm>
#include <cstring>

#include "env.h"
#include "ntk/gram.h"
#include "ntk/per_sample.h"
#include "ntk/sketch.h"
#include "objects.h"
#include "ops/op_table.h"
#include "options.h"
#include "packed.h"

namespace hf::binding {
namespace {

constexpr const char* kSplits[] = {"total", "components", "parameters"};
constexpr const char* kOutputs[] = {"logp", "logit"};

std::shared_ptr<Functions> functions_of(const char* function, Napi::Value value, const Model& model) {
  const Options options(function, value);
  auto f = std::make_shared<Functions>();
  f->ids = options.indices("ids"), f->offsets = options.indices("offsets"),
  f->sequence = options.indices("sequence");
  f->term_offsets = options.indices("termOffsets"), f->rows = options.indices("rows"),
  f->targets = options.indices("targets");
  f->output = options.choice<Output>("output", kOutputs, 2);
  const auto rises = [](const std::vector<int32_t>& v, size_t end) {
    if (v.empty() || v.front() != 0 || size_t(v.back()) != end) return false;
    for (size_t i = 1; i < v.size(); ++i)
      if (v[i] < v[i - 1]) return false;
    return true;
  };
  bool good = rises(f->offsets, f->ids.size()) && rises(f->term_offsets, f->rows.size()) &&
              f->rows.size() == f->targets.size() && f->term_offsets.size() == f->sequence.size() + 1;
  for (int32_t id : f->ids)
    good = good && id >= 0 && id < model.spec().vocab_size;
  for (size_t s = 1; good && s < f->offsets.size(); ++s)
    good = f->offsets[s] - f->offsets[s - 1] <= model.spec().max_positions;
  for (size_t i = 0; good && i < f->sequence.size(); ++i) {
    const int32_t s = f->sequence[i];
    good = s >= 0 && size_t(s) + 1 < f->offsets.size() && (i == 0 || f->sequence[i - 1] <= s);
    for (int32_t t = f->term_offsets[i]; good && t < f->term_offsets[i + 1]; ++t)
      good = f->rows[t] >= f->offsets[s] && f->rows[t] < f->offsets[s + 1] &&
             (t == f->term_offsets[i] || f->rows[t - 1] < f->rows[t]) && f->targets[t] >= 0 &&
             f->targets[t] < model.spec().vocab_size;
  }
  HF_CHECK(good, ErrorCode::kInvalidArg, "%s: the list of functions is not consistent", function);
  return f;
}

std::vector<bool> mask_of(const Options& options, const Model& model) {
  const Napi::Value value = options.get("wanted");
  const size_t count = model.parameters().size();
  HF_CHECK(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array &&
               value.As<Napi::TypedArray>().ElementLength() == count,
           ErrorCode::kInvalidArg, "%s: wanted must be a Uint8Array with one entry per parameter (%zu)",
           options.function(), count);
  const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
  return std::vector<bool>(array.Data(), array.Data() + count);
}

GramOptions gram_options(const Options& options, const Model& model) {
  GramOptions g;
  g.implementation = options.choice<Implementation>("implementation", kImplementations, 3);
  g.split = options.choice<Split>("split", kSplits, 3);
  g.wanted = mask_of(options, model);
  g.max_bytes = options.integer("maxBytes");
  return g;
}

Napi::Object plan_to_js(Napi::Env env, const GramPlan& plan) {
  Napi::Array choices = Napi::Array::New(env, plan.choices.size());
  for (size_t i = 0; i < plan.choices.size(); ++i) {
    Napi::Object choice = Napi::Object::New(env);
    choice.Set("parameter", plan.choices[i].parameter);
    choice.Set("form", plan.choices[i].ghost ? "ghost" : "blocked");
    choice.Set("flops", plan.choices[i].flops);
    choices[uint32_t(i)] = choice;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("blocks", double(plan.blocks1.size()));
  result.Set("columnBlocks", double(plan.blocks2.empty() ? plan.blocks1.size() : plan.blocks2.size()));
  result.Set("bytes", double(plan.bytes));
  result.Set("flops", plan.flops);
  result.Set("passFlops", plan.pass_flops);
  result.Set("choices", choices);
  return result;
}

std::shared_ptr<std::vector<double>> doubles(int64_t count) {
  return std::make_shared<std::vector<double>>(static_cast<size_t>(count));
}
View view_of_doubles(std::vector<double>& numbers) {
  return make_view(numbers.data(), DType::kF64, int64_t(numbers.size()));
}
Napi::Value to_js(Napi::Env env, const std::vector<double>& numbers) {
  return typed_array(env, DType::kF64, numbers.data(), int64_t(numbers.size()));
}

}  // namespace

// (functions, functions | null, options) → { blocks, columnBlocks, bytes, flops, passFlops, choices },
// without running anything.
Napi::Value ModelHandle::plan_gram(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto first = functions_of("ntk", info[0], *get("model"));
    const auto second = info[1].IsObject() ? functions_of("ntk", info[1], *object_) : nullptr;
    return plan_to_js(info.Env(), hf::plan_gram(*object_, *first, second.get(),
                                                gram_options(Options("ntk", info[2]), *object_)));
  });
}

Napi::Value ModelHandle::gram(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto first = functions_of("ntk", info[0], *get("model"));
    const auto second = info[1].IsObject() ? functions_of("ntk", info[1], *object_) : nullptr;
    const GramOptions options = gram_options(Options("ntk", info[2]), *object_);
    return EnvData::of(info.Env())
        .submit(object_->context(), info[3], [model = object_, first, second, options](Run& run) -> Convert {
      const GramPlan plan = hf::plan_gram(*model, *first, second.get(), options);
      const int64_t F1 = first->count(), F2 = second ? second->count() : F1,
                    count = matrix_count(*model, options.split);
      auto numbers = doubles(count * F1 * F2);
      hf::gram(*model, *first, second.get(), options, plan,
               make_view(numbers->data(), DType::kF64, count, F1, F2), run);
      return [numbers, count, size = F1 * F2](Napi::Env env) -> Napi::Value {
        Napi::Array matrices = Napi::Array::New(env, size_t(count));
        for (int64_t m = 0; m < count; ++m)
          matrices[uint32_t(m)] = typed_array(env, DType::kF64, numbers->data() + m * size, size);
        return matrices;
      };
    });
  });
}

// (functions, functions | null, { wanted, maxBytes, repeats, size, left, seed, projection, confidence }) → {
// estimate, halfWidth }
Napi::Value ModelHandle::sketch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    static constexpr const char* kProjections[] = {"rademacher", "gaussian"};
    const Options given("ntk.sketch", info[2]);
    const auto first = functions_of("ntk.sketch", info[0], *get("model"));
    const auto second = info[1].IsObject() ? functions_of("ntk.sketch", info[1], *object_) : nullptr;
    SketchOptions options;
    options.wanted = mask_of(given, *object_), options.max_bytes = given.integer("maxBytes"),
    options.repeats = given.integer("repeats");
    options.size = given.integer("size"), options.left = given.integer("left"),
    options.seed = given.integer("seed");
    options.projection = given.choice<Projection>("projection", kProjections, 2),
    options.confidence = given.number("confidence");
    return EnvData::of(info.Env())
        .submit(object_->context(), info[3], [model = object_, first, second, options](Run& run) -> Convert {
      const int64_t F1 = first->count(), F2 = second ? second->count() : F1;
      auto estimate = doubles(F1 * F2), half_width = doubles(F1 * F2);
      sketched_gram(*model, *first, second.get(), options, make_view(estimate->data(), DType::kF64, F1, F2),
                    make_view(half_width->data(), DType::kF64, F1, F2), run);
      return [estimate, half_width](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("estimate", to_js(env, *estimate));
        result.Set("halfWidth", to_js(env, *half_width));
        return result;
      };
    });
  });
}

// (functions, { wanted, maxBytes }) → tensor (F, width)
Napi::Value ModelHandle::per_sample_gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("perSampleGradients", info[1]);
    const auto functions = functions_of("perSampleGradients", info[0], *get("model"));
    return EnvData::of(info.Env())
        .submit(object_->context(), info[2],
                [model = object_, functions, wanted = mask_of(options, *object_),
                 max_bytes = options.integer("maxBytes")](Run& run) -> Convert {
      Tensor out = Tensor::create(model->context()->counter(), run.real(), functions->count(),
                                  GradientLayout(*model, wanted).width);
      int64_t bytes;
      for (const FunctionRange range : plan_blocks(*model, *functions, max_bytes, 0, 0, &bytes)) {
        checkpoint(run);
        Scratch scratch(run);
        hf::per_sample_gradients(FunctionBlock(*model, *functions, range, run), wanted,
                                 out.view.slice(0, range.begin, range.end - range.begin));
        report_progress(run, range.end, functions->count());
      }
      return [model, out](Napi::Env env) { return TensorHandle::wrap(env, model->context(), out); };
    });
  });
}

// (functions, functions, v, { wanted, maxBytes }) → K v
Napi::Value ModelHandle::vector_product(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("ntk.vectorProduct", info[3]);
    const auto first = functions_of("ntk.vectorProduct", info[0], *get("model")),
               second = functions_of("ntk.vectorProduct", info[1], *object_);
    const auto v = std::make_shared<std::vector<char>>(
        copy_numbers("ntk.vectorProduct", "v", info[2], DType::kF64, second->count()));
    return EnvData::of(info.Env())
        .submit(object_->context(), info[4],
                [model = object_, first, second, v, wanted = mask_of(options, *object_),
                 max_bytes = options.integer("maxBytes")](Run& run) -> Convert {
      auto out = doubles(first->count());
      hf::vector_product(*model, *first, *second, make_view(v->data(), DType::kF64, second->count()), wanted,
                         max_bytes, view_of_doubles(*out), run);
      return [out](Napi::Env env) { return to_js(env, *out); };
    });
  });
}

// (functions, tangent | null, { maxBytes }) → { values, derivatives }: f(θ) and J t along a flat tangent of P
// numbers.
Napi::Value ModelHandle::linear_model(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Options options("ntk.linearize", info[2]);
    const auto functions = functions_of("ntk.linearize", info[0], *get("model"));
    const DType real = object_->context()->real();
    const auto tangent = info[1].IsTypedArray()
                             ? std::make_shared<std::vector<char>>(
                                   copy_numbers("ntk.linearize", "tangent", info[1], real, object_->size()))
                             : nullptr;
    return EnvData::of(info.Env())
        .submit(object_->context(), info[3],
                [model = object_, functions, tangent, real,
                 max_bytes = options.integer("maxBytes")](Run& run) -> Convert {
      auto values = doubles(functions->count()), derivatives = doubles(functions->count());
      hf::linear_model(*model, *functions,
                       tangent ? on_device(run, make_view(tangent->data(), real, model->size())) : View{},
                       max_bytes, view_of_doubles(*values), tangent ? view_of_doubles(*derivatives) : View{},
                       run);
      return [values, derivatives](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("values", to_js(env, *values));
        result.Set("derivatives", to_js(env, *derivatives));
        return result;
      };
    });
  });
}

// (sequences, tangent of P numbers) → { logits, hiddenStates }: their tangents, per sequence.
Napi::Value ModelHandle::jvp(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const DType real = get("model")->context()->real();
    const auto packed = packed_sequences("model.jvp", info[0], *object_);
    const auto tangent = std::make_shared<std::vector<char>>(
        copy_numbers("model.jvp", "tangents", info[1], real, object_->size()));
    return EnvData::of(info.Env())
        .submit(object_->context(), info[2], [model = object_, packed, tangent](Run& run) -> Convert {
      const View t = on_device(run, make_view(tangent->data(), run.real(), model->size())),
                 t_weight = model->view_in(t, model->classifier());
      auto z = std::make_shared<std::vector<Tensor>>(), phi = std::make_shared<std::vector<Tensor>>();
      for (size_t s = 0; s + 1 < packed->offsets.size(); ++s) {
        checkpoint(run);
        Scratch scratch(run);
        const Activations a = hf::forward(
            *model, make_batch(packed->ids.data(), packed->offsets.data() + s, 1, run), Keep::kAll, run);
        const View t_phi = hf::jvp(*model, a, t, run);
        const std::shared_ptr<MemoryCounter>& counter = model->context()->counter();
        phi->push_back(Tensor::create(counter, run.real(), t_phi.shape[0], t_phi.shape[1]));
        copy_numbers(run, phi->back().view, t_phi);
        z->push_back(Tensor::create(counter, run.real(), t_phi.shape[0], model->spec().vocab_size));
        logits(*model, t_phi, z->back().view, run);
        GemmArgs args;
        args.a = a.features(), args.b = t_weight.transposed(), args.c = z->back().view,
        args.accumulate = true;
        dispatch(args, run);
      }
      return [model, z, phi](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("logits", tensors_to_js(env, model->context(), *z));
        result.Set("hiddenStates", tensors_to_js(env, model->context(), *phi));
        return result;
      };
    });
  });
}

// (sequences, rows, tangent of P numbers, groups) → { logits (n, V), direct (n, V), indirect (n, G, V) } at n
// rows of the packed tokens, in ascending order: z, ΔW φ, and W Δφ when only the parameters of group g move
// (groups: one number in 0 … G − 1 per parameter, or −1). The logits of other positions are never formed.
// Without a tangent (null, and no groups) only z is computed.
Napi::Value ModelHandle::row_tangents(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    constexpr int64_t kBlockTokens = 2048;  // whole sequences that share a pass; bounds activations
    const char* function = "analysis.explainStep";
    const DType real = get("model")->context()->real();
    const auto packed = packed_sequences(function, info[0], *object_);
    const Napi::Int32Array wanted = info[1].As<Napi::Int32Array>();
    const auto rows =
        std::make_shared<std::vector<int32_t>>(wanted.Data(), wanted.Data() + wanted.ElementLength());
    HF_CHECK(std::is_sorted(rows->begin(), rows->end()) &&
                 (rows->empty() || (rows->front() >= 0 && rows->back() < packed->offsets.back())),
             ErrorCode::kInvalidArg, "%s: rows must ascend and lie in 0 … %d", function,
             int(packed->offsets.back()) - 1);
    const auto tangent = std::make_shared<std::vector<char>>(
        info[2].IsNull() ? std::vector<char>()
                         : copy_numbers(function, "tangent", info[2], real, object_->size()));
    const Napi::Int32Array given = info[3].As<Napi::Int32Array>();
    HF_CHECK(given.ElementLength() == object_->parameters().size(), ErrorCode::kInvalidArg,
             "%s: groups must have one entry per parameter", function);
    const std::vector<int32_t> groups(given.Data(), given.Data() + given.ElementLength());
    HF_CHECK(!tangent->empty() || std::all_of(groups.begin(), groups.end(), [](int32_t g) { return g < 0; }),
             ErrorCode::kInvalidArg, "%s: groups need a tangent", function);
    return EnvData::of(info.Env())
        .submit(object_->context(), info[4],
                [model = object_, packed, rows, tangent, groups](Run& run) -> Convert {
      const View t =
          tangent->empty() ? View{} : on_device(run, make_view(tangent->data(), run.real(), model->size()));
      const int64_t sequences = packed->sequences(), n = int64_t(rows->size()), V = model->spec().vocab_size,
                    G = std::max(0, *std::max_element(groups.begin(), groups.end()) + 1);
      const std::shared_ptr<MemoryCounter>& counter = model->context()->counter();
      Tensor z = Tensor::create(counter, run.real(), n, V),
             direct = Tensor::create(counter, run.real(), n, V),
             indirect = Tensor::create(counter, run.real(), n, G, V);
      const View part = arena_tensor(run, run.real(), model->size());
      int64_t row = 0;
      for (int64_t begin = 0, end; begin < sequences; begin = end) {
        for (end = begin + 1;
             end < sequences && packed->offsets[end + 1] - packed->offsets[begin] <= kBlockTokens;)
          ++end;
        checkpoint(run);
        Scratch scratch(run);
        const Activations a = hf::forward(
            *model, make_batch(packed->ids.data(), packed->offsets.data() + begin, end - begin, run),
            G > 0 ? Keep::kAll : Keep::kFeatures, run);
        const int64_t first = row;
        while (row < n && (*rows)[row] < packed->offsets[end])
          ++row;
        const View here = arena_tensor(run, DType::kI32, row - first);
        for (int64_t i = first; i < row; ++i)
          here.as<int32_t>()[i - first] = (*rows)[i] - packed->offsets[begin];
        const View phi = gather_rows(a.features(), here, run);
        logits(*model, phi, z.view.slice(0, first, row - first), run);
        if (t) {
          GemmArgs args;
          args.a = phi, args.b = model->view_in(t, model->classifier()).transposed(),
          args.c = direct.view.slice(0, first, row - first);
          dispatch(args, run);
        }
        for (int32_t g = 0; g < G; ++g) {
          checkpoint(run);
          Scratch inner(run);
          set_zero(run, part);
          for (size_t p = 0; p < groups.size(); ++p)
            if (groups[p] == g) copy_numbers(run, model->view_in(part, int(p)), model->view_in(t, int(p)));
          const View t_phi = gather_rows(hf::jvp(*model, a, part, run), here, run);
          View out = indirect.view.slice(0, first, row - first).slice(1, g, 1);
          out.rank = 2, out.shape[1] = V, out.stride[1] = 1;
          logits(*model, t_phi, out, run);
        }
        report_progress(run, end, sequences);
      }
      return [model, z, direct, indirect](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("logits", TensorHandle::wrap(env, model->context(), z));
        result.Set("direct", TensorHandle::wrap(env, model->context(), direct));
        result.Set("indirect", TensorHandle::wrap(env, model->context(), indirect));
        return result;
      };
    });
  });
}

// (sequences, cotangents, { wanted }) → tensor (k, P): rows Σ ⟨cotangent, ∂z/∂θ⟩. Sequence s has a (k, T, V)
// tensor.
Napi::Value ModelHandle::vjp(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto packed = packed_sequences("model.vjp", info[0], *get("model"));
    const Napi::Array list = info[1].As<Napi::Array>();
    auto cotangents = std::make_shared<std::vector<std::shared_ptr<ContextTensor>>>();
    HF_CHECK(list.Length() + 1 == packed->offsets.size(), ErrorCode::kShape,
             "model.vjp: %zu cotangents expected, one per sequence, got %u", packed->offsets.size() - 1,
             list.Length());
    int64_t k = 0;
    for (uint32_t s = 0; s < list.Length(); ++s) {
      cotangents->push_back(TensorHandle::Unwrap(list.Get(s).As<Napi::Object>())->get("tensor"));
      const View& view = cotangents->back()->tensor.view;
      k = s == 0 && view.rank == 3 ? view.shape[0] : k;
      HF_CHECK(view.rank == 3 && view.shape[0] == k &&
                   view.shape[1] == packed->offsets[s + 1] - packed->offsets[s] &&
                   view.shape[2] == object_->spec().vocab_size,
               ErrorCode::kShape, "model.vjp: cotangents[%u] must have shape (k, T, V) = (%lld, %d, %lld)", s,
               static_cast<long long>(k), packed->offsets[s + 1] - packed->offsets[s],
               static_cast<long long>(object_->spec().vocab_size));
    }
    const std::vector<bool> wanted = mask_of(Options("model.vjp", info[2]), *object_);
    return EnvData::of(info.Env())
        .submit(object_->context(), info[3],
                [model = object_, packed, cotangents, wanted, k](Run& run) -> Convert {
      Tensor out = Tensor::create(model->context()->counter(), run.real(), k, model->size());
      for (size_t s = 0; s < cotangents->size(); ++s) {
        Scratch scratch(run);
        const Activations a = hf::forward(
            *model, make_batch(packed->ids.data(), packed->offsets.data() + s, 1, run), Keep::kAll, run);
        const View& all = (*cotangents)[s]->tensor.view;
        for (int64_t i = 0; i < k; ++i) {
          checkpoint(run);
          Scratch inner(run);
          const View g = make_view(all.as<char>() + i * all.stride[0] * dtype_bytes(all.dtype), all.dtype,
                                   all.shape[1], all.shape[2]);
          SumSink sink(*model,
                       make_view(out.view.as<char>() + i * model->size() * dtype_bytes(run.real()),
                                 run.real(), model->size()),
                       wanted, run);
          GemmArgs args;
          args.a = g, args.b = model->classifier_operand(),
          args.c = arena_tensor(run, run.real(), g.shape[0], model->spec().hidden_size);
          dispatch(args, run);
          if (sink.wants(model->classifier())) {
            GemmArgs head;
            head.a = g.transposed(), head.b = a.features(), head.c = sink.gradient(model->classifier()),
            head.accumulate = true;
            dispatch(head, run);
          }
          backward(*model, a, args.c, sink, run);
        }
      }
      return [model, out](Napi::Env env) { return TensorHandle::wrap(env, model->context(), out); };
    });
  });
}

}  // namespace hf::binding
