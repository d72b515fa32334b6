# comm_add_library(Name SOURCES a.cpp ... [LINK lib ...])          plain C++ on the standard library
# comm_add_mlir_library(Name SOURCES a.cpp ... [LINK lib ...])     needs CommMLIR; waits for the generated headers
# comm_add_unit_test(name SOURCES a.cpp ... [LINK lib ...])        GoogleTest executable registered with ctest
include(GNUInstallDirs)

function(comm_add_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC comm_flags ${ARG_LINK})
endfunction()

function(comm_add_mlir_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC comm_flags comm_mlir ${ARG_LINK})
  add_dependencies(${name} CommIRIncGen)
  comm_use_pch(${name})
endfunction()

# The same as target_precompile_headers(${name} REUSE_FROM CommPCH), but by a path that is alike in every clone, so that clones share what
# ccache holds. Ninja compiles in the build folder.
function(comm_use_pch name)
  if(CMAKE_GENERATOR MATCHES "Ninja" AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${name} PRIVATE
      "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Winvalid-pch -include-pch ${COMM_PCH_FOLDER}/cmake_pch.hxx.pch>")
    # Of a target that it merely depends on, Ninja would not wait for this file.
    get_target_property(sources ${name} SOURCES)
    set_property(SOURCE ${sources} APPEND PROPERTY OBJECT_DEPENDS ${PROJECT_BINARY_DIR}/${COMM_PCH_FOLDER}/cmake_pch.hxx.pch)
  else()
    target_precompile_headers(${name} REUSE_FROM CommPCH)
  endif()
endfunction()

function(comm_add_unit_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE comm_flags ${ARG_LINK} GTest::gtest GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test/bin)
  add_test(NAME ${name} COMMAND ${name})
  # Its label is the folder below test/, for example unit/Import; utils/sanitize.sh picks by the second one.
  file(RELATIVE_PATH area ${PROJECT_SOURCE_DIR}/test ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${area})
  if(area MATCHES "^runtime/" OR area STREQUAL unit/Import OR area IN_LIST COMM_PLAIN_UNIT_TESTS)
    set_tests_properties(${name} PROPERTIES LABELS "${area};sanitized")
    add_dependencies(sanitized-tests ${name})
  endif()
endfunction()
