#include "op_memory.h"

namespace hf::binding {
namespace {

// Elements from a view's first to its last, both included.
int64_t extent(const View& view) {
  int64_t last = 0;
  for (int i = 0; i < view.rank; ++i)
    last += (view.shape[i] - 1) * view.stride[i];
  return last + 1;
}

class RangeCollector : public FieldVisitor {
 public:
  void tensor(const char* name, View& view, FieldRole role, const char*, unsigned) override {
    if (!view || view.size() == 0) return;
    const char* begin = static_cast<const char*>(view.data);
    ranges.push_back({
        .name = name,
        .begin = begin,
        .end = begin + extent(view) * dtype_bytes(view.dtype),
        .write = role != FieldRole::kIn,
    });
  }
  std::vector<Lease::Range> ranges;
};

class DeviceCopier : public FieldVisitor {
 public:
  explicit DeviceCopier(Run& run) : run_(run) {}
  void tensor(const char*, View& view, FieldRole, const char*, unsigned flags) override {
    if (!view || view.size() == 0 || (flags & kIndices)) return;
    view.data = on_device(run_, make_view(view.data, view.dtype, extent(view))).data;
  }

 private:
  Run& run_;
};

}  // namespace

std::vector<Lease::Range> ranges_of(OpArgs& args) {
  RangeCollector collector;
  args.visit(collector);
  return std::move(collector.ranges);
}

void move_to_device(OpArgs& args, Run& run) {
  DeviceCopier copier(run);
  args.visit(copier);
}

}  // namespace hf::binding
