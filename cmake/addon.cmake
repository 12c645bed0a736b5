# link_as_addon(target): what makes a shared library an addon on each system. It exports what docs/linking.md names and
# nothing else, takes Node-API from the process that loads it, and stays loaded until the process ends, because its
# threads do.
function(link_as_addon target)
  if(APPLE)
    target_link_options(${target} PRIVATE LINKER:-undefined,dynamic_lookup
                                          LINKER:-exported_symbols_list,${CMAKE_SOURCE_DIR}/cmake/exports.txt)
    set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/exports.txt)
  else()
    target_link_options(${target} PRIVATE LINKER:-z,nodelete LINKER:-z,noexecstack
                                          LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/exports.map)
    set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/exports.map)
  endif()
endfunction()
