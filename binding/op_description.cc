#include "op_description.h"

namespace hf::binding {
namespace {

const char* role_name(FieldRole role) {
  switch (role) {
    case FieldRole::kIn: return "in";
    case FieldRole::kOut: return "out";
    case FieldRole::kInOut: return "inout";
  }
  return "";
}

const char* type_name(unsigned flags) {
  if (flags & kIndices) return "int32";
  if (flags & kBytes) return "uint8";
  if (flags & kDouble) return "float64";
  return "real";
}

// Lists the fields as FieldDescriptions; scalars come with their defaults.
class Describer : public FieldVisitor {
 public:
  explicit Describer(Napi::Env env) : env_(env), fields_(Napi::Array::New(env)) {}

  void tensor(const char* name, View&, FieldRole role, const char* dims, unsigned flags) override {
    Napi::Object field = add(name, role_name(role));
    field.Set("dims", dims);
    field.Set("optional", (flags & kOptional) != 0);
    field.Set("strided", (flags & kStrided) != 0);
    field.Set("bfloat16", (flags & kBf16) != 0);
    field.Set("dtype", type_name(flags));
  }
  void number(const char* name, double& value) override { add(name, "number").Set("default", value); }
  void integer(const char* name, int64_t& value) override {
    add(name, "integer").Set("default", double(value));
  }
  void flag(const char* name, bool& value) override { add(name, "flag").Set("default", value); }
  void choice(const char* name, int& value, const char* const* names, int count) override {
    Napi::Array choices = Napi::Array::New(env_, size_t(count));
    for (int i = 0; i < count; ++i)
      choices.Set(uint32_t(i), Napi::String::New(env_, names[i]));
    Napi::Object field = add(name, "choice");
    field.Set("choices", choices);
    field.Set("default", names[value]);
  }
  Napi::Array fields() const { return fields_; }

 private:
  Napi::Object add(const char* name, const char* kind) {
    Napi::Object field = Napi::Object::New(env_);
    field.Set("name", name);
    field.Set("kind", kind);
    fields_.Set(fields_.Length(), field);
    return field;
  }

  Napi::Env env_;
  Napi::Array fields_;
};

}  // namespace

Napi::Object describe_op(Napi::Env env, const Op& op) {
  Describer describer(env);
  OpArgs(op).visit(describer);
  Napi::Array backends = Napi::Array::New(env);
  for (int i = 0; i < kBackendCount; ++i) {
    const Backend backend = static_cast<Backend>(i);
    if (op.implemented(backend))
      backends.Set(backends.Length(), Napi::String::New(env, backend_name(backend)));
  }
  Napi::Object entry = Napi::Object::New(env);
  entry.Set("op", op.op);
  entry.Set("name", op.name);
  entry.Set("fields", describer.fields());
  entry.Set("backends", backends);
  return entry;
}

}  // namespace hf::binding
