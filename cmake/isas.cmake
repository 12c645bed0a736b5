# The CPU kernels: one object library per instruction set, all from the same sources (native/backends/cpu/isa.h).
# Sets ISA_OBJECTS, and tells headfirst_core which sets there are.
file(GLOB CPU_SOURCES CONFIGURE_DEPENDS native/ops/*/cpu/*.cc native/backends/cpu/rates.cc)

set(AVX2_OPTIONS -mavx2 -mfma -mf16c -mbmi2)
if(HEADFIRST_EMULATE_AVX512)
  set(AVX512_OPTIONS ${AVX2_OPTIONS})
  target_compile_definitions(headfirst_core PRIVATE HF_EMULATE_AVX512=1)
else()
  # GCC 12 warns about its own AVX-512 intrinsics, which begin from an undefined register on purpose.
  set(AVX512_OPTIONS ${AVX2_OPTIONS} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
      $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

# The best instruction set that the compiler finds on this machine.
function(find_native_isa result)
  execute_process(
    COMMAND ${CMAKE_CXX_COMPILER} -march=native -dM -E -x c++ /dev/null
    OUTPUT_VARIABLE macros
    ERROR_QUIET)
  set(isa base)
  if(macros MATCHES "__AVX2__" AND macros MATCHES "__FMA__" AND macros MATCHES "__BMI2__" AND macros MATCHES "__F16C__")
    set(isa avx2)
    if(macros MATCHES "__AVX512F__" AND macros MATCHES "__AVX512BW__" AND macros MATCHES "__AVX512VL__" AND
       macros MATCHES "__AVX512DQ__")
      set(isa avx512)
    endif()
  endif()
  set(${result} ${isa} PARENT_SCOPE)
endfunction()

set(isas ${HEADFIRST_ISAS})
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(isas base)
elseif(isas STREQUAL "native")
  find_native_isa(isas)
elseif(isas STREQUAL "all")
  set(isas base avx2 avx512)
endif()
message(STATUS "headfirst: CPU kernels for ${isas}")

set(ISA_OBJECTS "")
foreach(isa ${isas})
  if(NOT isa MATCHES "^(base|avx2|avx512)$")
    message(FATAL_ERROR "HEADFIRST_ISAS: '${isa}' is not all, native, base, avx2 or avx512")
  endif()
  set(column headfirst_cpu_${isa})
  string(TOUPPER ${isa} ISA)
  add_library(${column} OBJECT ${CPU_SOURCES})
  target_compile_definitions(${column} PRIVATE HF_ISA=cpu_${isa})
  target_compile_options(${column} PRIVATE
    ${HEADFIRST_WARNINGS} ${HEADFIRST_MATH} -O3 -fno-exceptions ${${ISA}_OPTIONS})
  target_include_directories(${column} PRIVATE native)
  if(HEADFIRST_QUICK)
    target_precompile_headers(${column} PRIVATE native/backends/cpu/isa.h native/backends/cpu/simd.h)
  endif()
  # The emulated column needs vectors that are wider than its instructions.
  if(HEADFIRST_EMULATE_AVX512 AND isa STREQUAL "avx512")
    target_compile_definitions(${column} PRIVATE HF_VECTOR_BYTES=64)
  endif()
  target_compile_definitions(headfirst_core PRIVATE HF_HAVE_CPU_${ISA}=1)
  list(APPEND ISA_OBJECTS $<TARGET_OBJECTS:${column}>)
endforeach()
