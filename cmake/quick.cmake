# What makes compiling quick: most of the time goes into reading the same headers again.

# All sources of a folder are compiled as one file. Names that are local to a file must therefore differ within
# its folder; the compiler says so when they don't.
function(group_by_folder target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  foreach(source ${ARGN})
    get_filename_component(path ${source} ABSOLUTE)
    file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR} ${path})
    get_filename_component(folder ${path} DIRECTORY)
    if(folder MATCHES "^native/(core|runtime|ops|capi|backends)" AND target STREQUAL "headfirst_core")
      set(folder foundation)  # many small files
    endif()
    string(MAKE_C_IDENTIFIER ${folder} room)
    set_property(SOURCE ${source} PROPERTY UNITY_GROUP ${room})
  endforeach()
endfunction()

# ccache takes what it has compiled before. With precompiled headers it has to be told what they may differ in.
if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(HEADFIRST_CCACHE ccache)
  if(HEADFIRST_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${HEADFIRST_CCACHE})
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()
