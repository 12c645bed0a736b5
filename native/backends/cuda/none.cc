// Stands in for the CUDA column in a build without it, and says why it is missing.
#include "core/error.h"
#include "ops/op_table.h"
#include "runtime/device.h"

namespace hf {

void register_cuda() {}

const CudaStatus& cuda_status() {
  static const CudaStatus status{
      false, "", {}, "this build contains no CUDA kernels (" HEADFIRST_CUDA_SKIPPED ")"};
  return status;
}

std::string cublas_status() {
  return "none (" + cuda_status().reason + ")";
}

std::shared_ptr<Device> open_cuda(int) {
  fail(ErrorCode::kBackendUnavailable, "cuda: %s", cuda_status().reason.c_str());
}

}  // namespace hf
