# headfirst_no_cuda, an object library that stands in for the CUDA column and says why there is none, and
# headfirst_cuda_column, made from the .cu files with nvcc, where HEADFIRST_CUDA asks for it. Both implement
# runtime/device.h and register_cuda().
# Kernels run as compiled on Ampere and Hopper; anything newer compiles the PTX when it loads. Code for sm_90a may use
# what only Hopper has.
set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;80-virtual")
set(HEADFIRST_CUDA_LIBRARIES "")

# Why this build has no CUDA kernels, or nothing where it can have them; then CMAKE_CUDA_COMPILER is set.
function(find_nvcc problem)
  set(${problem} "" PARENT_SCOPE)
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
    set(${problem} "no nvcc was found when it was built" PARENT_SCOPE)
    return()
  endif()
  file(WRITE ${CMAKE_BINARY_DIR}/cuda_probe.cu "__global__ void probe(float* x) { *x = 1; }\n")
  execute_process(
    COMMAND ${CMAKE_CUDA_COMPILER} -std=c++20 -gencode=arch=compute_90a,code=sm_90a -c cuda_probe.cu -o cuda_probe.o
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
    RESULT_VARIABLE status
    ERROR_VARIABLE error
    OUTPUT_QUIET)
  if(NOT status EQUAL 0)
    # The line that says what is wrong, with quotes that a definition can hold.
    string(REGEX MATCH "[^\n]*(error|unsupported|fatal)[^\n]*" error "${error}")
    string(REPLACE "\"" "'" error "${error}")
    set(${problem} "nvcc did not work when it was built: ${error}" PARENT_SCOPE)
  endif()
endfunction()

# AUTO does not wait minutes for nvcc on a machine that cannot run what it makes.
function(find_gpu found)
  set(${found} OFF PARENT_SCOPE)
  foreach(device /dev/nvidia0 /dev/nvidiactl /dev/dxg "$ENV{SystemRoot}/System32/nvcuda.dll")
    if(EXISTS ${device})
      set(${found} ON PARENT_SCOPE)
    endif()
  endforeach()
endfunction()

if(HEADFIRST_CUDA STREQUAL "AUTO")
  find_gpu(wanted)
else()
  set(wanted ${HEADFIRST_CUDA})
endif()
set(problem "they were not asked for when it was built")
if(wanted)
  find_nvcc(problem)
  if(problem AND NOT HEADFIRST_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "headfirst: CUDA kernels were asked for, but ${problem}. "
                        "Install the CUDA toolkit and put its bin folder on the PATH, or leave them out.")
  endif()
endif()

add_library(headfirst_no_cuda OBJECT native/backends/cuda/none.cc)
target_include_directories(headfirst_no_cuda PRIVATE native)
target_compile_options(headfirst_no_cuda PRIVATE ${HEADFIRST_WARNINGS})
if(problem)
  target_compile_definitions(headfirst_no_cuda PRIVATE HEADFIRST_CUDA_SKIPPED="${problem}")
else()
  target_compile_definitions(headfirst_no_cuda PRIVATE HEADFIRST_CUDA_SKIPPED="they are in headfirst_cuda.node")
endif()

if(problem)
  message(STATUS "headfirst: CUDA kernels are left out (${problem})")
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
  add_library(headfirst_cuda_column OBJECT ${CUDA_SOURCES})
  target_include_directories(headfirst_cuda_column PRIVATE native)
  target_compile_definitions(headfirst_cuda_column PRIVATE HEADFIRST_CUDA_ARCHITECTURES="sm_80, sm_90a, compute_80")
  target_compile_options(headfirst_cuda_column PRIVATE
    -Xfatbin=-compress-all
    -Xcompiler=-Wall,-Wextra,-fvisibility=hidden,-fvisibility-inlines-hidden)
  if(HEADFIRST_WERROR)
    target_compile_options(headfirst_cuda_column PRIVATE -Xcompiler=-Werror)
  endif()
  set_target_properties(headfirst_cuda_column PROPERTIES CUDA_SEPARABLE_COMPILATION OFF CUDA_RUNTIME_LIBRARY Static)
  find_library(HEADFIRST_CUDART cudart_static HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES})
  set(HEADFIRST_CUDA_LIBRARIES ${HEADFIRST_CUDART} rt)
endif()
