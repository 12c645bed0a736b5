#include "runtime/counting_run.h"

namespace hf {

CountingRun::CountingRun(const Context& context)
    : numbers_(Arena::counting(Arena::alignment(bool(context.device())))) {
  run_.backend = context.backend();
  run_.threads = context.threads();
  run_.math = context.math();
  run_.arena = &indices_;
  run_.device = context.device().get();
  run_.counting = &numbers_;
}

}  // namespace hf
