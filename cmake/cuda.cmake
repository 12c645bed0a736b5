# Defines headfirst_cuda, an object library that implements runtime/device.h and register_cuda(). It is made from the
# .cu files with nvcc, or from none.cc where nvcc is missing or does not work with this host compiler. It is never
# fatal; one status line says which of the two it is, and why.
#   -DHEADFIRST_CUDA=OFF leaves CUDA out.
set(HEADFIRST_CUDA AUTO CACHE STRING "AUTO: CUDA kernels when nvcc is found; OFF: none")
set(HEADFIRST_CUDA_LIBRARIES "")
set(HEADFIRST_CUDA_SKIPPED "")
# Kernels run as compiled on Ampere and Hopper; anything newer compiles the PTX when it loads. Code for sm_90a may use
# what only Hopper has.
set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;80-virtual")

if(NOT HEADFIRST_CUDA STREQUAL "AUTO")
  set(HEADFIRST_CUDA_SKIPPED "switched off by HEADFIRST_CUDA=${HEADFIRST_CUDA}")
else()
  if(NOT DEFINED ENV{CUDACXX} AND NOT CMAKE_CUDA_COMPILER)
    find_program(HEADFIRST_NVCC nvcc HINTS /usr/local/cuda/bin ENV CUDA_PATH PATH_SUFFIXES bin)
    if(HEADFIRST_NVCC)
      set(ENV{CUDACXX} ${HEADFIRST_NVCC})
    endif()
  endif()
  # enable_language is fatal when nvcc rejects the host compiler, so that is tried first.
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(HEADFIRST_CUDA_SKIPPED "no nvcc was found when it was built")
  else()
    file(WRITE ${CMAKE_BINARY_DIR}/cuda_probe.cu "__global__ void probe(float* x) { *x = 1; }\n")
    execute_process(
      COMMAND ${CMAKE_CUDA_COMPILER} -std=c++20 -gencode=arch=compute_90a,code=sm_90a -c cuda_probe.cu -o cuda_probe.o
      WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
      RESULT_VARIABLE HEADFIRST_PROBE
      ERROR_VARIABLE HEADFIRST_PROBE_ERROR
      OUTPUT_QUIET)
    if(NOT HEADFIRST_PROBE EQUAL 0)
      # The line that says what is wrong, with quotes that a definition can hold.
      string(REGEX MATCH "[^\n]*(error|unsupported|fatal)[^\n]*" HEADFIRST_PROBE_ERROR "${HEADFIRST_PROBE_ERROR}")
      string(REPLACE "\"" "'" HEADFIRST_PROBE_ERROR "${HEADFIRST_PROBE_ERROR}")
      set(HEADFIRST_CUDA_SKIPPED "nvcc did not work when it was built: ${HEADFIRST_PROBE_ERROR}")
    endif()
  endif()
endif()

if(HEADFIRST_CUDA_SKIPPED)
  message(STATUS "headfirst: CUDA kernels are left out (${HEADFIRST_CUDA_SKIPPED})")
  add_library(headfirst_cuda OBJECT native/backends/cuda/none.cc)
  target_include_directories(headfirst_cuda PRIVATE native)
  target_compile_options(headfirst_cuda PRIVATE ${HEADFIRST_WARNINGS})
  target_compile_definitions(headfirst_cuda PRIVATE HEADFIRST_CUDA_SKIPPED="${HEADFIRST_CUDA_SKIPPED}")
else()
  enable_language(CUDA)
  message(STATUS "headfirst: CUDA kernels with nvcc ${CMAKE_CUDA_COMPILER_VERSION} for sm_80, sm_90a and compute_80")
  if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  foreach(kind STANDARD EXTENSION)  # CMake before 3.26 does not know that nvcc has C++20
    if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
      set(CMAKE_CUDA20_${kind}_COMPILE_OPTION "-std=c++20")
    endif()
  endforeach()
  file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS native/backends/cuda/*.cu native/ops/*/cuda/*.cu)
  add_library(headfirst_cuda OBJECT ${CUDA_SOURCES})
  target_include_directories(headfirst_cuda PRIVATE native)
  target_compile_definitions(headfirst_cuda PRIVATE HEADFIRST_CUDA_ARCHITECTURES="sm_80, sm_90a, compute_80")
  target_compile_options(headfirst_cuda PRIVATE
    -Xfatbin=-compress-all
    -Xcompiler=-Wall,-Wextra,-fvisibility=hidden,-fvisibility-inlines-hidden)
  if(HEADFIRST_WERROR)
    target_compile_options(headfirst_cuda PRIVATE -Xcompiler=-Werror)
  endif()
  set_target_properties(headfirst_cuda PROPERTIES CUDA_SEPARABLE_COMPILATION OFF CUDA_RUNTIME_LIBRARY Static)
  find_library(HEADFIRST_CUDART cudart_static HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES})
  set(HEADFIRST_CUDA_LIBRARIES ${HEADFIRST_CUDART} rt)
endif()
