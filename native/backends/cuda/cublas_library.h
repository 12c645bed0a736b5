// cuBLASLt as a library that is opened at run time: the few functions of its C interface that a product
// needs, found by name, with the types and values of NVIDIA's headers that they take. For cublas.cu alone.
//   HEADFIRST_CUBLAS_DIR   the folder that holds libcublasLt.so.13 or .12; otherwise the loader looks for it
//   HEADFIRST_CUBLAS=off   do without
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <type_traits>

#include "backends/cuda/platform.h"

namespace hf::cuda::lt {

// Names and values of cublasLt.h, cublas_api.h and library_types.h (CUDA 12 and 13).
using Status = int;  // cublasStatus_t
constexpr Status kSuccess = 0;
constexpr Status kInvalidValue = 7;
constexpr Status kArchMismatch = 8;
constexpr Status kNotSupported = 15;
constexpr int kCompute32F = 68;  // cublasComputeType_t
constexpr int kCompute32FFastTf32 = 77;
constexpr int kR32F = 0;  // cudaDataType_t
constexpr int kR16BF = 14;
constexpr int32_t kOpT = 1;                    // cublasOperation_t
constexpr uint32_t kEpilogueBias = 4;          // cublasLtEpilogue_t
constexpr uint32_t kReductionComputeType = 2;  // cublasLtReductionScheme_t
constexpr int kDescTransA = 3;                 // cublasLtMatmulDescAttributes_t
constexpr int kDescTransB = 4;
constexpr int kDescEpilogue = 7;
constexpr int kDescBiasPointer = 8;
constexpr int kPrefMaxWorkspace = 1;  // cublasLtMatmulPreferenceAttributes_t
constexpr int kPrefReductionMask = 3;
constexpr int kPrefAlignmentA = 5;    // B, C and D follow A
constexpr int kLayoutBatchCount = 5;  // cublasLtMatrixLayoutAttribute_t
constexpr int kLayoutBatchStep = 6;   // in numbers, not bytes

struct Algorithm {  // cublasLtMatmulAlgo_t
  uint64_t data[8];
};
struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};
using Handle = struct LtHandle*;
using Desc = struct LtDesc*;
using Layout = struct LtLayout*;
using Preference = struct LtPreference*;

struct Library {
  size_t (*GetVersion)();
  const char* (*GetStatusString)(Status);
  Status (*Create)(Handle*);
  Status (*Destroy)(Handle);
  Status (*MatmulDescCreate)(Desc*, int compute, int scale);
  Status (*MatmulDescDestroy)(Desc);
  Status (*MatmulDescSetAttribute)(Desc, int attribute, const void*, size_t);
  Status (*MatrixLayoutCreate)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t step);
  Status (*MatrixLayoutDestroy)(Layout);
  Status (*MatrixLayoutSetAttribute)(Layout, int attribute, const void*, size_t);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, int attribute, const void*, size_t);
  Status (*MatmulAlgoGetHeuristic)(Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference,
                                   int wanted, Heuristic*, int* found);
  Status (*Matmul)(Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout,
                   const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*,
                   void* workspace, size_t workspace_bytes, cudaStream_t);
  bool usable = false;
  std::string status;  // for headfirst info: which library, or why none
};

// Opens the library; null, with the first thing that the loader said, when it is not found.
inline void* open_library(std::string& problem) {
  const char* folder = std::getenv("HEADFIRST_CUBLAS_DIR");
  for (const bool in_folder : {true, false}) {
    if (in_folder && (!folder || !*folder)) continue;
    for (const char* name : kBlasLibraries) {
      const std::string path = in_folder ? std::string(folder) + "/" + name : name;
      if (void* found = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return found;
      if (const char* said = dlerror(); problem.empty() && said) problem = said;
    }
  }
  return nullptr;
}

// Looks all functions up; the name of the first one that is missing, or empty.
inline std::string find_functions(Library& lib, void* opened) {
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(opened, name));
    if (!function && missing.empty()) missing = name;
  };
#define HF_FIND(name) find(lib.name, "cublasLt" #name)
  HF_FIND(GetVersion);
  HF_FIND(GetStatusString);
  HF_FIND(Create);
  HF_FIND(Destroy);
  HF_FIND(MatmulDescCreate);
  HF_FIND(MatmulDescDestroy);
  HF_FIND(MatmulDescSetAttribute);
  HF_FIND(MatrixLayoutCreate);
  HF_FIND(MatrixLayoutDestroy);
  HF_FIND(MatrixLayoutSetAttribute);
  HF_FIND(MatmulPreferenceCreate);
  HF_FIND(MatmulPreferenceDestroy);
  HF_FIND(MatmulPreferenceSetAttribute);
  HF_FIND(MatmulAlgoGetHeuristic);
  HF_FIND(Matmul);
#undef HF_FIND
  return missing;
}

// Its version, and the file that it was loaded from.
inline std::string describe(const Library& lib) {
  const size_t version = lib.GetVersion();
  const std::string numbers = std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
                              "." + std::to_string(version % 100);
  Dl_info where{};
  dladdr(reinterpret_cast<void*>(lib.GetVersion), &where);
  return "cuBLASLt " + numbers + " (" + (where.dli_fname ? where.dli_fname : "?") + ")";
}

inline Library load() {
  Library lib{};
  const char* wanted = std::getenv("HEADFIRST_CUBLAS");
  std::string problem;
  if (wanted && std::string(wanted) == "off") {
    problem = "HEADFIRST_CUBLAS=off";
  } else if (void* opened = open_library(problem)) {
    const std::string missing = find_functions(lib, opened);
    lib.usable = missing.empty();
    if (lib.usable) {
      lib.status = describe(lib);
      return lib;
    }
    problem = missing + " is missing in it";
  } else {
    problem += "; HEADFIRST_CUBLAS_DIR may name the folder that holds it";
  }
  lib.status = "none (" + problem + "): plain products take our own tensor-core kernel, the slower way";
  return lib;
}

// The library, opened on first use.
inline const Library& library() {
  static const Library instance = load();
  return instance;
}

}  // namespace hf::cuda::lt
