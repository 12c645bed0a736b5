// tensor_map(): a matrix described to Hopper's copy engine.
#include "backends/cuda/hopper.h"

#include "core/error.h"

namespace hf::cuda {

namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's cuTensorMapEncodeTiled, or null. It is asked for at run time, so that nothing links against
// the driver.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<Encode>(function);
}

}  // namespace

CUtensorMap tensor_map(const void* data, int64_t rows, int64_t depth, int64_t step, int box_rows) {
  static const Encode encode = find_encode();
  HF_CHECK(encode, ErrorCode::kCuda,
           "the driver has no cuTensorMapEncodeTiled, which Hopper's copy engine needs; "
           "install one for CUDA 12 or later");
  CUtensorMap map;
  const cuuint64_t sizes[2] = {cuuint64_t(depth), cuuint64_t(rows)};
  const cuuint64_t steps[1] = {cuuint64_t(step) * 2};  // bytes
  const cuuint32_t box[2] = {64, cuuint32_t(box_rows)};
  const cuuint32_t strides[2] = {1, 1};
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(data), sizes, steps, box, strides,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  HF_CHECK(result == CUDA_SUCCESS, ErrorCode::kCuda,
           "cuTensorMapEncodeTiled refuses %lld x %lld numbers with rows %lld apart (%d)",
           static_cast<long long>(rows), static_cast<long long>(depth), static_cast<long long>(step),
           int(result));
  return map;
}

}  // namespace hf::cuda
