// The C interface (native/include/headfirst.h): arguments by name into an op's args struct, exceptions into
// status codes. Like every binding it is derived from the field lists; no op is named here.
#include "headfirst.h"

#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "core/error.h"
#include "ops/op_table.h"
#include "runtime/call_scratch.h"
#include "runtime/cpu.h"

#if defined(_WIN32)
#define HEADFIRST_EXPORT __declspec(dllexport)
#else
#define HEADFIRST_EXPORT __attribute__((visibility("default")))
#endif

namespace hf {
namespace {

static_assert(sizeof(View) == sizeof(headfirst_view) &&
              offsetof(View, shape) == offsetof(headfirst_view, shape) &&
              offsetof(View, stride) == offsetof(headfirst_view, stride) && kMaxRank == HEADFIRST_MAX_RANK);
static_assert(int(DType::kF64) == HEADFIRST_F64 && int(DType::kI32) == HEADFIRST_I32 &&
              int(DType::kBF16) == HEADFIRST_BF16 && int(DType::kU8) == HEADFIRST_U8);
static_assert(int(ErrorCode::kInvalidArg) + 1 == HEADFIRST_INVALID_ARG &&
              int(ErrorCode::kIo) + 1 == HEADFIRST_IO);
static_assert(int(kOptional) == HEADFIRST_OPTIONAL && int(kBytes) == HEADFIRST_BYTES &&
              int(kBf16) == HEADFIRST_OR_BF16);

// Visits an op's fields, and describes each.
class Describer {
 public:
  explicit Describer(std::vector<headfirst_field>& fields) : fields_(fields) {}
  void in(const char* name, const View&, const char* dims, unsigned flags = 0) {
    tensor(name, HEADFIRST_IN, dims, flags);
  }
  void out(const char* name, const View&, const char* dims, unsigned flags = 0) {
    tensor(name, HEADFIRST_OUT, dims, flags);
  }
  void inout(const char* name, const View&, const char* dims, unsigned flags = 0) {
    tensor(name, HEADFIRST_INOUT, dims, flags);
  }
  void number(const char* name, double value) {
    fields_.push_back({name, HEADFIRST_NUMBER, 0, nullptr, nullptr, 0, value});
  }
  void integer(const char* name, int64_t value) {
    fields_.push_back({name, HEADFIRST_INTEGER, 0, nullptr, nullptr, 0, double(value)});
  }
  void flag(const char* name, bool value) {
    fields_.push_back({name, HEADFIRST_FLAG, 0, nullptr, nullptr, 0, double(value)});
  }
  template <class E>
  void choice(const char* name, E value, const char* const* names, int count) {
    fields_.push_back({name, HEADFIRST_CHOICE, 0, nullptr, names, count, double(int(value))});
  }

 private:
  void tensor(const char* name, headfirst_kind kind, const char* dims, unsigned flags) {
    fields_.push_back({name, kind, flags, dims, nullptr, 0, 0});
  }
  std::vector<headfirst_field>& fields_;
};

// Visits an op's fields, and fills each from the arguments that were given by name.
class Reader {
 public:
  Reader(const char* op, const headfirst_argument* arguments, int32_t count)
      : op_(op), arguments_(arguments), count_(count) {}
  void in(const char* name, View& view, const char*, unsigned = 0) { tensor(name, view); }
  void out(const char* name, View& view, const char*, unsigned = 0) { tensor(name, view); }
  void inout(const char* name, View& view, const char*, unsigned = 0) { tensor(name, view); }
  void number(const char* name, double& value) {
    if (const headfirst_argument* given = find(name)) value = given->number;
  }
  void integer(const char* name, int64_t& value) {
    const headfirst_argument* given = find(name);
    if (!given) return;
    HF_CHECK(
        given->number > -9.0e15 && given->number < 9.0e15 && given->number == double(int64_t(given->number)),
        ErrorCode::kInvalidArg, "%s: %s must be an integer, got %g", op_, name, given->number);
    value = int64_t(given->number);
  }
  void flag(const char* name, bool& value) {
    if (const headfirst_argument* given = find(name)) value = given->number != 0;
  }
  template <class E>
  void choice(const char* name, E& value, const char* const* names, int count) {
    const headfirst_argument* given = find(name);
    if (!given) return;
    for (int i = 0; i < count && given->choice; ++i)
      if (!std::strcmp(given->choice, names[i])) {
        value = static_cast<E>(i);
        return;
      }
    fail(ErrorCode::kInvalidArg, "%s: %s has no choice '%s'; the first is '%s'", op_, name,
         given->choice ? given->choice : "(null)", names[0]);
  }
  void finish() const {
    HF_CHECK(used_ == count_, ErrorCode::kInvalidArg,
             "%s: an argument is named twice or is none of the op's fields", op_);
  }

 private:
  const headfirst_argument* find(const char* name) {
    for (int32_t i = 0; i < count_; ++i)
      if (arguments_[i].name && !std::strcmp(arguments_[i].name, name)) {
        ++used_;
        return &arguments_[i];
      }
    return nullptr;
  }
  void tensor(const char* name, View& view) {
    const headfirst_argument* given = find(name);
    if (!given || !given->view.data) return;
    HF_CHECK(given->view.rank >= 1 && given->view.rank <= kMaxRank, ErrorCode::kShape,
             "%s: %s must have 1 to %d dimensions, got %d", op_, name, kMaxRank, given->view.rank);
    // The two have the same layout: asserted above.
    std::memcpy(static_cast<void*>(&view), &given->view, sizeof view);
    for (int i = 0; i < view.rank; ++i)
      HF_CHECK(view.shape[i] >= 0, ErrorCode::kShape, "%s: %s has a negative size", op_, name);
  }

  const char* op_;
  const headfirst_argument* arguments_;
  int32_t count_, used_ = 0;
};

struct Row {
  headfirst_op op;
  std::vector<headfirst_field> fields;  // what op.fields points to
  void (*run)(const headfirst_argument*, int32_t, Run&);
  Cost (*cost)(const headfirst_argument*, int32_t);
};

template <class Args>
Args read(const headfirst_argument* arguments, int32_t count) {
  Args args;
  Reader reader(Args::kName, arguments, count);
  Args::visit(args, reader);
  reader.finish();
  return args;
}

template <class Args>
void run_op(const headfirst_argument* arguments, int32_t count, Run& run) {
  const Args args = read<Args>(arguments, count);
  validate(args, run, /*check_overlap=*/true);
  OpFn<Args> fn = op_row<Args>()[int(run.backend)];
  HF_CHECK(fn, ErrorCode::kUnsupported, "%s: not implemented for backend '%s'", Args::kName,
           backend_name(run.backend));
  fn(args, run);
}

template <class Args>
Cost cost_op(const headfirst_argument* arguments, int32_t count) {
  const Args args = read<Args>(arguments, count);
  Run run;
  run.backend = Backend::kReference32;
  validate(args, run, /*check_overlap=*/false);
  return cost(args);
}

template <class Args>
void add(std::vector<Row>& rows) {
  if constexpr (!std::is_same_v<Args, NoArgs>) {
    Row row{{Args::kName, nullptr, 0, nullptr}, {}, run_op<Args>, cost_op<Args>};
    Args defaults;
    Describer describer(row.fields);
    Args::visit(defaults, describer);
    rows.push_back(std::move(row));
  }
}

const std::vector<Row>& rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> rows;
#define HF_OP(op, Forward, Backward, Jvp) \
  add<Forward>(rows);                     \
  add<Backward>(rows);                    \
  add<Jvp>(rows);
#include "ops/op_list.inc"
#undef HF_OP
    for (Row& row : rows) {
      row.op.fields = row.fields.data();
      row.op.field_count = int32_t(row.fields.size());
      row.op.internal = &row;
    }
    return rows;
  }();
  return all;
}

template <class Body>
int32_t guarded(headfirst_error* error, Body&& body) {
  const auto report = [error](int32_t status, const char* message) {
    if (!error) return status;
    error->status = status;
    std::strncpy(error->message, message, sizeof error->message - 1);
    error->message[sizeof error->message - 1] = 0;
    return status;
  };
  try {
    body();
    return report(HEADFIRST_OK, "");
  } catch (const Error& e) {
    return report(int32_t(e.code()) + 1, e.what());
  } catch (const std::bad_alloc&) {
    return report(HEADFIRST_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return report(HEADFIRST_INVALID_ARG, e.what());
  }
}

const Row& row_of(const headfirst_op* op) {
  HF_CHECK(op && op->internal, ErrorCode::kInvalidArg,
           "headfirst: the op is null; find_op() knows the names");
  return *static_cast<const Row*>(op->internal);
}

Backend backend_named(const char* name) {
  if (!name) return best_cpu_backend();
  for (int i = 0; i < kBackendCount; ++i) {
    const Backend backend = static_cast<Backend>(i);
    if (std::strcmp(name, backend_name(backend)) != 0) continue;
    HF_CHECK(backend_available(backend), ErrorCode::kBackendUnavailable,
             "headfirst: backend '%s' cannot run on this machine", name);
    return backend;
  }
  fail(ErrorCode::kInvalidArg, "headfirst: there is no backend '%s'", name);
}

const headfirst_op* op_at(int32_t index) {
  return index >= 0 && index < int32_t(rows().size()) ? &rows()[size_t(index)].op : nullptr;
}

const headfirst_op* find_op(const char* name) {
  for (const Row& row : rows())
    if (name && !std::strcmp(row.op.name, name)) return &row.op;
  return nullptr;
}

const char* status_name(int32_t status) {
  if (status == HEADFIRST_OK) return "OK";
  if (status > HEADFIRST_IO || status < 0) return "ERR_UNKNOWN";
  return error_code_name(static_cast<ErrorCode>(status - 1));
}

int32_t run(const headfirst_op* op, const headfirst_argument* arguments, int32_t count,
            const headfirst_options* options, headfirst_error* error) {
  return guarded(error, [&] {
    Run run;
    run.backend = backend_named(options ? options->backend : nullptr);
    if (options && options->threads > 0) run.threads = options->threads;
    const CallScratch scratch(run);
    row_of(op).run(arguments, count, run);
  });
}

int32_t op_cost(const headfirst_op* op, const headfirst_argument* arguments, int32_t count, double* flops,
                double* bytes, headfirst_error* error) {
  return guarded(error, [&] {
    const Cost cost = row_of(op).cost(arguments, count);
    if (flops) *flops = cost.flops;
    if (bytes) *bytes = cost.bytes;
  });
}

}  // namespace
}  // namespace hf

extern "C" HEADFIRST_EXPORT const headfirst_api_table* headfirst_api(uint32_t version) {
  if (version > HEADFIRST_API_VERSION) return nullptr;
  static const headfirst_api_table table = [] {
    hf::register_all();
    return headfirst_api_table{HEADFIRST_API_VERSION,
                               HEADFIRST_VERSION,
                               int32_t(hf::rows().size()),
                               hf::op_at,
                               hf::find_op,
                               hf::status_name,
                               hf::run,
                               hf::op_cost};
  }();
  return &table;
}
